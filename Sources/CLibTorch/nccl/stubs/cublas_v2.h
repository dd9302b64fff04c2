// The types that headers of ATen/cuda name, in place of a wheel of 423 MB.
#pragma once
typedef struct cublasContext *cublasHandle_t;
typedef enum cublasStatus { CUBLAS_STATUS_SUCCESS = 0 } cublasStatus_t;
