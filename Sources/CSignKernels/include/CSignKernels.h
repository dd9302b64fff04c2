#pragma once
// Products with ±1 matrices at one bit per weight. The only header that Swift sees.
int sign_kernels_placeholder(void);
