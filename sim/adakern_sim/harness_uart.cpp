// Harness of a device behind UART pins: in on `rx`, out on `tx`.

#include "harness.h"
#include "uart_line.h"

// CYCLES_PER_BIT is a define of the build: the clock over the baud rate.
constexpr Ticks BIT = static_cast<Ticks>(CYCLES_PER_BIT * CYCLE + 0.5);

struct Harness {
    explicit Harness(const char *trace_path) : model{trace_path} {}

    // Sends and receives until `cycles_max` have passed, the room is full, or (with `stop_on_frame`)
    // a whole frame has come. A byte counts as used when its start bit begins.
    void run(Exchange &exchange) {
        auto next = [&](uint8_t &byte) {
            if (exchange.send_used == exchange.send_size) return false;
            byte = exchange.send[exchange.send_used++];
            return true;
        };
        for (uint64_t cycle = 0; cycle < exchange.cycles_max; ++cycle) {
            if (exchange.received == exchange.receive_size) return;
            Ticks now = model.cycles * CYCLE;
            model.top.rx = sender.level(now, next);
            model.settle();
            uint8_t byte;
            bool arrived = receiver(now, model.top.tx, byte);
            model.edge();
            if (!arrived) continue;
            exchange.receive[exchange.received++] = byte;
            if (frame_end(byte) && exchange.stop_on_frame) return;
        }
    }

    Model model;
    UartSender sender{BIT};
    UartReceiver receiver{BIT};
    FrameEnd frame_end;
};

#include "harness_api.h"

API void faults(Harness *harness, const Faults *faults) { harness->sender.configure(*faults); }
API void send_break(Harness *harness, unsigned bits) { harness->sender.send_break(bits); }
API uint64_t framing_errors(const Harness *harness) { return harness->receiver.framing_errors; }
