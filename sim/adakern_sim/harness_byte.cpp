// Harness of a device behind a byte stream in (`rx`) and a byte stream out (`tx`).

#include "harness.h"

struct Harness {
    explicit Harness(const char *trace_path) : model{trace_path} {}

    // Offers one byte and takes one byte in each cycle, until `cycles_max` have passed, the room is
    // full, or (with `stop_on_frame`) a whole frame has come.
    void run(Exchange &exchange) {
        auto &top = model.top;
        for (uint64_t cycle = 0; cycle < exchange.cycles_max; ++cycle) {
            bool sending = exchange.send_used < exchange.send_size;
            bool receiving = exchange.received < exchange.receive_size;
            if (!receiving) return;
            top.STREAM(rx, valid) = sending;
            top.STREAM(rx, payload) = sending ? exchange.send[exchange.send_used] : 0;
            top.STREAM(tx, ready) = 1;
            model.settle();
            exchange.send_used += sending && top.STREAM(rx, ready);
            bool arrived = top.STREAM(tx, valid);
            uint8_t byte = top.STREAM(tx, payload);
            model.edge();
            if (!arrived) continue;
            exchange.receive[exchange.received++] = byte;
            if (frame_end(byte) && exchange.stop_on_frame) return;
        }
    }

    Model model;
    FrameEnd frame_end;
};

#include "harness_api.h"
