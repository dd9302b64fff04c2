// The type that headers of ATen/cuda name, in place of a wheel of 201 MB.
#pragma once
typedef enum cusolverStatus { CUSOLVER_STATUS_SUCCESS = 0 } cusolverStatus_t;
