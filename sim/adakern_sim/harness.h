// What every harness shares: the model under its clock, the cycle counter, the trace, and the C API.
//
// MODEL_HEADER and MODEL_CLASS name the Verilated class; TRACE is defined in a build with waveforms.
// The API is plain C, so that ctypes can call it:
//
//   create(trace_path)   new model as it powers up; trace_path may be null, NULL on failure
//   destroy(model)
//   cycles(model)        rising clock edges so far
//   run(...)             see `Harness::run`
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include MODEL_HEADER
#include "verilated.h"
#ifdef TRACE
#include "verilated_vcd_c.h"
#endif

// A member of a stream port: Amaranth joins the names with "__", which Verilator writes "___05F".
#define STREAM(port, member) port##___05F##member

class Model {
public:
    explicit Model(const char *trace_path) : top{&context} {
#ifdef TRACE
        if (trace_path) {
            context.traceEverOn(true);
            top.trace(&trace, 99);
            trace.open(trace_path);
        }
#else
        (void)trace_path;
#endif
        top.clk = 0;
    }

    ~Model() {
        top.final();
#ifdef TRACE
        trace.close();
#endif
    }

    // Lets the inputs reach the outputs ahead of the edge: what is read then is what the edge will see.
    void settle() {
        top.clk = 0;
        top.eval();
        dump();
    }

    void edge() {
        top.clk = 1;
        top.eval();
        dump();
        ++cycles;
    }

    VerilatedContext context;
    MODEL_CLASS top;
    uint64_t cycles = 0;

private:
#ifdef TRACE
    VerilatedVcdC trace;
    void dump() {
        if (trace.isOpen()) trace.dump(time++);
    }
    uint64_t time = 0;
#else
    void dump() {}
#endif
};

// Bytes to send and room for those that arrive; `send_used` and `received` count how far it went.
struct Exchange {
    const uint8_t *send;
    size_t send_size;
    size_t send_used;
    uint8_t *receive;
    size_t receive_size;
    size_t received;
    uint64_t cycles_max;
    uint32_t stop_on_frame;
};

// Finds the end of a frame: a delimiter after data.
class FrameEnd {
public:
    bool operator()(uint8_t byte) {
        bool end = byte == 0 && in_frame;
        in_frame = byte != 0;
        return end;
    }

private:
    bool in_frame = false;
};
