// The handle that ATen/cuda/CUDAContextLight.h names, in place of a wheel of 201 MB.
#pragma once
typedef struct cusolverDnContext *cusolverDnHandle_t;
