// The handle that ATen/cuda/CUDAContextLight.h names, in place of a wheel of 420 MB.
#pragma once
typedef struct cublasContext *cublasHandle_t;
