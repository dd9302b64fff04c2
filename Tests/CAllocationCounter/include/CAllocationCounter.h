// Counts the calling thread's allocations, for tests that demand none. A test that links this replaces the allocator's
// entry points, which works with glibc; elsewhere nothing is counted and `allocation_counter_is_active` says so.
#pragma once

#include <stdbool.h>
#include <stdint.h>

// Allocations (malloc, calloc, realloc, aligned ones) that this thread has made so far.
uint64_t allocation_counter_value(void);
bool allocation_counter_is_active(void);
