// What training computes besides a forward pass: gradients of norms and activations, the distillation loss of a row. A
// template, as float_kernels.h says, which stands before it.

// Σ a ⊙ b
INLINE float dot(const float *a, const float *b, size_t count) {
    v16f sum = {0}, x, y;
    size_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        load(a + i, &x);
        load(b + i, &y);
        sum += x * y;
    }
    if (i < count) {
        load_tail(a + i, count - i, &x);
        load_tail(b + i, count - i, &y);
        sum += x * y;
    }
    return sum_of_lanes(&sum);
}

static void KERNEL(add_product)(const float *a, const float *b, size_t count, float *sum) {
    for (size_t i = 0; i < count; i++) sum[i] += a[i] * b[i];
}

static void KERNEL(layer_norm_gradient)(const float *dz, const float *z, float scale, size_t count, float *dy) {
    const float mean = sum_of(dz, count) / (float)count, projection = dot(dz, z, count) / (float)count;
    for (size_t i = 0; i < count; i++) dy[i] = scale * ((dz[i] - mean) - z[i] * projection);
}

static void KERNEL(rms_norm_gradient)(const float *dy, const float *x, const float *w, float scale, size_t count,
                                      float *dx, float *dw) {
    v16f sum = {0}, a, b, c;
    size_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        load(dy + i, &a);
        load(w + i, &b);
        load(x + i, &c);
        sum += (a * b) * c;
    }
    if (i < count) {
        load_tail(dy + i, count - i, &a);
        load_tail(w + i, count - i, &b);
        load_tail(x + i, count - i, &c);
        sum += (a * b) * c;
    }
    const float projection = sum_of_lanes(&sum) / (float)count * scale * scale;
    for (size_t j = 0; j < count; j++) {
        dw[j] += dy[j] * (x[j] * scale);
        dx[j] = scale * (dy[j] * w[j] - x[j] * projection);
    }
}

static void KERNEL(swiglu_gradient)(const float *dz, const float *gate, const float *up, size_t count, float *dgate,
                                    float *dup) {
    for (size_t i = 0; i < count; i += lanes) {
        const size_t width = count - i < lanes ? count - i : lanes;
        v16f d, a, b, exponentials;
        if (width == lanes) {
            load(dz + i, &d);
            load(gate + i, &a);
            load(up + i, &b);
        } else {
            load_tail(dz + i, width, &d);
            load_tail(gate + i, width, &a);
            load_tail(up + i, width, &b);
        }
        const v16f negative = -a;
        exponential(&negative, &exponentials);
        const v16f sigmoid = 1.0f / (exponentials + 1.0f);
        const v16f by_gate = d * b * (sigmoid * (1.0f + a * (1.0f - sigmoid)));
        const v16f by_up = d * (a * sigmoid);
        if (width == lanes) {
            store(&by_gate, dgate + i);
            store(&by_up, dup + i);
        } else {
            store_tail(&by_gate, width, dgate + i);
            store_tail(&by_up, width, dup + i);
        }
    }
}

static float KERNEL(direction_loss)(const float *t, const float *s, size_t count, float weight, float *gradient) {
    const float tiny = 1e-12f;  // keeps an all-zero state finite
    float t_norm = sqrtf(sum_of_squares(t, count, 0.0f)), s_norm = sqrtf(sum_of_squares(s, count, 0.0f));
    if (t_norm < tiny) t_norm = tiny;
    if (s_norm < tiny) s_norm = tiny;
    const float t_scale = 1.0f / t_norm, s_scale = 1.0f / s_norm;
    v16f loss = {0}, cosine = {0}, a, b;
    for (size_t i = 0; i < count; i += lanes) {
        if (count - i >= lanes) {
            load(t + i, &a);
            load(s + i, &b);
        } else {
            load_tail(t + i, count - i, &a);
            load_tail(s + i, count - i, &b);
        }
        a *= t_scale;
        b *= s_scale;
        loss += (a - b) * (a - b);
        cosine += a * b;
    }
    const float projection = sum_of_lanes(&cosine) * s_scale, factor = 2.0f * weight * s_scale;
    for (size_t i = 0; i < count; i++) gradient[i] = factor * (s[i] * projection - t[i] * t_scale);
    return sum_of_lanes(&loss);
}

// Largest of x.
INLINE float largest_of(const float *x, size_t count) {
    v16f largest, value;
    fill(-INFINITY, &largest);
    size_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        load(x + i, &value);
        const v16i larger = value > largest;
        choose(&larger, &value, &largest, &largest);
    }
    float result = maximum_of_lanes(&largest);
    for (; i < count; i++) result = x[i] > result ? x[i] : result;
    return result;
}

// Replaces x by exp(x − shift), and returns their sum; Σ exp(x − shift) (x − shift − (y − other)) goes to `cross` where y
// is given. Some hundred numbers at a time are summed in single precision.
INLINE double exponentiate(float *x, float shift, const float *y, float other, size_t count, double *cross) {
    enum { run = 64 * lanes };
    double total = 0;
    for (size_t first = 0; first < count; first += run) {
        const size_t end = count - first < run ? count : first + run;
        v16f sum = {0}, products = {0};
        for (size_t i = first; i < end; i += lanes) {
            const size_t width = end - i < lanes ? end - i : lanes;
            v16f value, reference = {0}, exponentials;
            if (width == lanes) {
                load(x + i, &value);
                if (y) load(y + i, &reference);
            } else {
                load_tail(x + i, width, &value);
                if (y) load_tail(y + i, width, &reference);
            }
            value -= shift;
            exponential(&value, &exponentials);
            if (width < lanes) {
                float kept[lanes] = {0}, all[lanes];
                store(&exponentials, all);
                for (size_t j = 0; j < width; j++) kept[j] = all[j];
                load(kept, &exponentials);
            }
            sum += exponentials;
            if (y) products += exponentials * (value - (reference - other));
            if (width == lanes) store(&exponentials, x + i);
            else store_tail(&exponentials, width, x + i);
        }
        total += sum_of_lanes(&sum);
        if (y) *cross += sum_of_lanes(&products);
    }
    return total;
}

static sign_kernels_loss KERNEL(logit_loss)(float *s, float *t, size_t count, float divergence_weight, ptrdiff_t target,
                                            float target_weight) {
    sign_kernels_loss loss = {0, 0};
    const float s_largest = largest_of(s, count);
    const double s_target = target >= 0 ? (double)s[target] - s_largest : 0;
    double cross = 0, t_sum = 1, t_largest = 0;
    if (t) {
        t_largest = largest_of(t, count);
        t_sum = exponentiate(t, (float)t_largest, s, s_largest, count, &cross);
    }
    const double s_sum = exponentiate(s, s_largest, NULL, 0, count, NULL);
    // log p = x − largest − log Σ
    if (t) loss.divergence = cross / t_sum + (log(s_sum) - log(t_sum));
    if (target >= 0) loss.cross_entropy = log(s_sum) - s_target;
    const float by_s = (float)(((t ? divergence_weight : 0) + (target >= 0 ? target_weight : 0)) / s_sum);
    if (t) {
        const float by_t = (float)(divergence_weight / t_sum);
        for (size_t i = 0; i < count; i++) s[i] = s[i] * by_s - t[i] * by_t;
    } else {
        for (size_t i = 0; i < count; i++) s[i] *= by_s;
    }
    if (target >= 0) s[target] -= target_weight;
    return loss;
}
