// The C functions over `Harness`; included at the end of each harness.
#pragma once

#include <exception>

#define API extern "C" __attribute__((visibility("default")))

API Harness *create(const char *trace_path) {
    try {
        return new Harness{trace_path};
    } catch (const std::exception &) {
        return nullptr;
    }
}
API void destroy(Harness *harness) { delete harness; }
API uint64_t cycles(const Harness *harness) { return harness->model.cycles; }
API void run(Harness *harness, Exchange *exchange) { harness->run(*exchange); }
