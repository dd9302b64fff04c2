#include "CLibTorch.h"
#include <ATen/ATen.h>
int lt_probe(void) { return (int)at::ones({3}).sum().item<float>(); }
