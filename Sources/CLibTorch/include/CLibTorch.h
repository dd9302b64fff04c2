#pragma once
#ifdef __cplusplus
extern "C" {
#endif
int lt_probe(void);
#ifdef __cplusplus
}
#endif
