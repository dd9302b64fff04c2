// The type that headers of ATen/cuda name, in place of a wheel of 423 MB.
#pragma once
typedef struct cublasLtContext *cublasLtHandle_t;
