// The type that headers of ATen/cuda name, in place of a wheel of 201 MB.
#pragma once
typedef struct cusolverDnContext *cusolverDnHandle_t;
