// The types that headers of ATen/cuda name, in place of a wheel of 146 MB.
#pragma once
typedef struct cusparseContext *cusparseHandle_t;
typedef enum cusparseStatus { CUSPARSE_STATUS_SUCCESS = 0 } cusparseStatus_t;
