// The far end of a UART line, 8N1, pin by pin: a sender that can be told to make faults, a receiver.
//
// Times are in 1/65536 of a clock cycle, so that a bit need not be a whole number of cycles.
#pragma once

#include <cstdint>
#include <random>

using Ticks = uint64_t;
constexpr Ticks CYCLE = 65536;
constexpr unsigned DATA_BITS = 8;
constexpr unsigned FRAME_BITS = 1 + DATA_BITS + 1;
constexpr unsigned BREAK_BITS_MAX = 62;

// Probabilities per byte.
struct Faults {
    double stop_error;  // the stop bit is low
    double noise;       // the line is inverted for up to a bit, anywhere in the byte
    double drop;        // the byte is not sent
    double insert;      // a random byte goes before it
    uint64_t seed;
};

class UartSender {
public:
    explicit UartSender(Ticks bit) : bit{bit} {}

    void configure(const Faults &wanted) {
        faults = wanted;
        random.seed(wanted.seed);
    }

    // Holds the line low for so many bit times once the byte under way is through.
    void send_break(unsigned bits) { break_bits = bits < BREAK_BITS_MAX ? bits : BREAK_BITS_MAX; }

    // Level of the line at `now`; `next(byte)` gives the next byte if there is one.
    template <typename Next> bool level(Ticks now, Next next) {
        if (!bits_left) start(now, next);
        if (!bits_left) return true;
        while (now >= bit_start + bit) {
            bit_start += bit;
            shift >>= 1;
            if (--bits_left == 0) {
                start(bit_start, next);
                if (!bits_left) return true;
            }
        }
        bool inverted = now >= noise_from && now < noise_to;
        return (shift & 1) != inverted;
    }

private:
    template <typename Next> void start(Ticks now, Next next) {
        bit_start = now;
        if (break_bits) {
            shift = uint64_t{1} << break_bits;
            bits_left = break_bits + 1;
            break_bits = 0;
            return;
        }
        while (!held) {
            if (!next(held_byte)) return;
            held = !chance(faults.drop);
        }
        bool insert = chance(faults.insert);
        uint8_t byte = insert ? static_cast<uint8_t>(random()) : held_byte;
        held = insert;
        // After a false stop bit the line rises for one bit: the next start bit needs its falling edge.
        unsigned low_stop = chance(faults.stop_error);
        shift = uint64_t{1} << (FRAME_BITS - 1 + low_stop) | static_cast<uint64_t>(byte) << 1;
        bits_left = FRAME_BITS + low_stop;
        if (chance(faults.noise)) {
            noise_from = now + random() % (FRAME_BITS * bit);
            noise_to = noise_from + random() % bit;
        }
    }

    bool chance(double probability) {
        return probability > 0 && std::uniform_real_distribution<>{}(random) < probability;
    }

    const Ticks bit;
    Ticks bit_start = 0, noise_from = 0, noise_to = 0;
    uint64_t shift = 0;
    unsigned bits_left = 0, break_bits = 0;
    uint8_t held_byte = 0;
    bool held = false;
    Faults faults{};
    std::mt19937_64 random;
};

class UartReceiver {
public:
    explicit UartReceiver(Ticks bit) : bit{bit} {}

    // Takes the line's level at `now`; true when a byte is complete.
    bool operator()(Ticks now, bool level, uint8_t &byte) {
        if (!bits_left) {
            if (!level && previous) {
                bits_left = FRAME_BITS;
                sample_time = now + bit / 2;
            }
            previous = level;
            return false;
        }
        previous = level;
        if (now < sample_time) return false;
        sample_time += bit;
        shift = shift >> 1 | level << (FRAME_BITS - 1);
        if (--bits_left) return false;
        bool start = shift & 1;
        if (start || !level) {
            ++framing_errors;
            return false;
        }
        byte = static_cast<uint8_t>(shift >> 1);
        return true;
    }

    uint64_t framing_errors = 0;

private:
    const Ticks bit;
    Ticks sample_time = 0;
    unsigned shift = 0, bits_left = 0;
    bool previous = true;
};
