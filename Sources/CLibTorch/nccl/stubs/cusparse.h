// The handle that ATen/cuda/CUDAContextLight.h names, in place of a wheel of 146 MB.
#pragma once
typedef struct cusparseContext *cusparseHandle_t;
