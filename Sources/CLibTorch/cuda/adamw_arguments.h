// What the host gives to the kernels of adamw.cuh. The host's compiler reads these types as they are, and puts their text in front
// of the kernels that NVRTC compiles: SHARED_SOURCE is the one or the other. No directive may stand inside.
SHARED_SOURCE(
enum Form { form_float32 = 0, form_bfloat16 = 1, form_float16 = 2, form_blocks = 3 };
enum SignGradient { sign_gradient_none = 0, sign_gradient_tanh = 1, sign_gradient_hard = 2 };

struct Moment {
    void *data;
    float *scales;
    /// Levels of a block's code: 128 of a magnitude, or 256.
    const float *levels;
    int form;
};

struct Rows {
    void *value;
    Moment first, second;
    const void *gradient;
    /// Of a latent matrix, by which P = dYᵀX becomes dW = P ⊙ (h gᵀ) ⊙ sign′(W).
    const float *output_scale, *input_scale;
    u8 *signs;
    u64 *turned;
    double *square_sums;
    i64 columns;
    /// 256 elements of a row or fewer, which share a scale; of all rows.
    u32 blocks, row_blocks;
    int value_form, gradient_form, sign_gradient;
};

struct Step {
    /// β₂, and what new gradients count for: 1 − β₁, 1 − β₂.
    float old2, new1, new2, epsilon, decay, rate, root, gradient_factor;
    u64 random_key;
    i64 first_element;
};
)
