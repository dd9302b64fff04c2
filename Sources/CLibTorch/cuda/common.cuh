R"CUDA(
// What all kernels share. No header of CUDA is at hand where NVRTC compiles this.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define INFINITY __int_as_float(0x7F800000)

struct bfloat16 {
    u16 bits;
};
struct float16 {
    u16 bits;
};

__device__ inline float number(float x) { return x; }
__device__ inline float number(bfloat16 x) { return __uint_as_float((u32)x.bits << 16); }
__device__ inline float number(float16 x) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
}

/// Rounded to the nearest, of two the even one.
__device__ inline void store(float &to, float x) { to = x; }
__device__ inline void store(bfloat16 &to, float x) {
    u32 bits = __float_as_uint(x);
    to.bits = x != x ? 0x7FC0 : (u16)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}
__device__ inline void store(float16 &to, float x) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to.bits) : "f"(x)); }

/// Sums over the threads of a block, in an order that is always the same. All threads get them.
template <typename Number, int count>
__device__ inline void block_sums(Number (&x)[count]) {
    __shared__ Number parts[32][count];
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    for (int k = 0; k < count; ++k) {
        for (int distance = 16; distance > 0; distance /= 2) x[k] += __shfl_xor_sync(0xFFFFFFFF, x[k], distance);
        if (lane == 0) parts[warp][k] = x[k];
    }
    __syncthreads();
    for (int k = 0; k < count; ++k) {
        x[k] = lane < warps ? parts[lane][k] : Number(0);
        for (int distance = 16; distance > 0; distance /= 2) x[k] += __shfl_xor_sync(0xFFFFFFFF, x[k], distance);
    }
    __syncthreads();
}

__device__ inline float block_max(float x) {
    __shared__ float parts[32];
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    for (int distance = 16; distance > 0; distance /= 2) x = max(x, __shfl_xor_sync(0xFFFFFFFF, x, distance));
    if (lane == 0) parts[warp] = x;
    __syncthreads();
    x = lane < warps ? parts[lane] : -INFINITY;
    for (int distance = 16; distance > 0; distance /= 2) x = max(x, __shfl_xor_sync(0xFFFFFFFF, x, distance));
    __syncthreads();
    return x;
}
)CUDA"
