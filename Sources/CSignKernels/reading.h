// Plain reading, what decoding is measured against. A template, as float_kernels.h says; include that file before it.

static uint64_t KERNEL(read)(const uint8_t *bytes, size_t count) {
    v16u words, parity[4] = {{0}};
    size_t i = 0;
    for (; i + 256 <= count; i += 256) {
        for (int part = 0; part < 4; part++) {
            memcpy(&words, bytes + i + 64 * part, sizeof words);
            parity[part] ^= words;
        }
    }
    const v16u all = parity[0] ^ parity[1] ^ parity[2] ^ parity[3];
    uint64_t result = 0;
    for (int lane = 0; lane < lanes; lane++) result = result * 31 + all[lane];
    return result;
}
