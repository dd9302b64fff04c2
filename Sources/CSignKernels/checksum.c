// A checksum that runs at the speed of memory on any machine.
//
// Two sums in each of eight lanes, of the words and of their running sums (Fletcher's scheme): additions only, and words
// that changed places are noticed.
// What lies beyond the last whole block is padded with zeros; the length goes in too.

#include <string.h>

#include "CSignKernels.h"

typedef uint64_t lanes8 __attribute__((vector_size(64)));

enum { block_bytes = 64 };

uint64_t sign_kernels_checksum(const uint8_t *bytes, size_t count) {
    lanes8 sum = {0}, sum_of_sums = {0}, words;
    size_t i = 0;
    for (; i + block_bytes <= count; i += block_bytes) {
        memcpy(&words, bytes + i, sizeof words);
        sum += words;
        sum_of_sums += sum;
    }
    uint8_t rest[block_bytes] = {0};
    memcpy(rest, bytes + i, count - i);
    memcpy(&words, rest, sizeof words);
    sum += words;
    sum_of_sums += sum;

    // The lanes into one number: multiplication by an odd constant (the golden ratio's) loses nothing.
    uint64_t result = count;
    for (int lane = 0; lane < 8; lane++) {
        result = (result ^ sum[lane]) * 0x9E3779B97F4A7C15u;
        result = (result ^ result >> 29 ^ sum_of_sums[lane]) * 0x9E3779B97F4A7C15u;
        result ^= result >> 32;
    }
    return result;
}
