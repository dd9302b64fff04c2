// The orders of bits, and what every layout shares.
#pragma once

#include "CSignKernels.h"

extern const sign_kernels_layout sign_kernels_layout_nibbles256;
extern const sign_kernels_layout sign_kernels_layout_sixes256;

enum {
    // Kernels take groups four at a time: the sums of four digits fit a byte.
    groups_per_quad = 4,
    // Quads of a tile's columns that all of its rows pass over before the next ones: their look-up tables are 2 to 12 kB.
    piece_quads = 16,
};

// Where row j of q of a vector's rows stands among its byte lanes, for vectors of 4·m lanes, rows q·m + j: lane
// 4j + quarter_lane(q). So the 16-bit even and odd halves of the lanes, and their 32-bit halves in turn, come out as
// four runs of m consecutive rows.
static inline size_t quarter_lane(size_t q) { return (q >> 1) | ((q & 1) << 1); }

static inline size_t rounded_up_quotient(size_t a, size_t b) { return (a + b - 1) / b; }
