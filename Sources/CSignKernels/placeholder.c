#include "CSignKernels.h"
int sign_kernels_placeholder(void) { return 1; }
