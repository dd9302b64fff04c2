// What a row of logits says of the token that follows, for scoring texts. A template, as float_kernels.h says; include
// training_kernels.h before it.

static double KERNEL(log_sum_exp)(const float *x, size_t count, float *largest) {
    enum { run = 64 * lanes };
    *largest = largest_of(x, count);
    double total = 0;
    // Some hundred numbers at a time are summed in single precision.
    for (size_t first = 0; first < count; first += run) {
        const size_t end = count - first < run ? count : first + run;
        v16f value, sum = {0};
        size_t i = first;
        for (; i + lanes <= end; i += lanes) {
            load(x + i, &value);
            value -= *largest;
            exponential(&value, &value);
            sum += value;
        }
        if (i < end) {
            load_tail(x + i, end - i, &value);
            value -= *largest;
            exponential(&value, &value);
            // Stored and loaded again so that the lanes beyond the end are cleared before the sum.
            float kept[lanes];
            store_tail(&value, end - i, kept);
            load_tail(kept, end - i, &value);
            sum += value;
        }
        total += sum_of_lanes(&sum);
    }
    return (double)*largest + log(total);
}
