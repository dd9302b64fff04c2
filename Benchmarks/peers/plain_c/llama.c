// A LLaMA decoder in plain C: the yardstick for small models.
//
// Float32, one thread, one token at a time, no library but libm and nothing that the compiler would not do by itself.
// Reads a Hugging Face directory (config.json, model.safetensors in F32 or BF16), decodes greedily and prints one JSON
// line. It is not an engine: no tokenizer, no sampling, no sharded checkpoints, no rotary scaling.
//
//   cc -O3 llama.c -o llama -lm
//   ./llama DIRECTORY [--prompt 1,403,407] [--tokens 500] [--seconds 1] [--print]
//
// Each pass starts from an empty cache, feeds the prompt and decodes until `tokens` positions (the context at most)
// have been computed; passes are repeated until `seconds` are over, after one that is not counted. The rate is all
// positions over all seconds, so a prompt of one token, the default, makes it the rate of decoding. The same over the
// processor's seconds is what a machine without other work would give.

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    int hidden, intermediate, layers, heads, kv_heads, head, vocabulary, context;
    float epsilon, theta;
} configuration;

// Matrices are [out, in], rows one after another.
typedef struct {
    float *attention_norm, *query, *key, *value, *output;
    float *mlp_norm, *gate, *up, *down;
} layer;

typedef struct {
    configuration is;
    float *embedding, *norm, *head;
    layer *layers;
} model;

typedef struct {
    float *x, *normed, *query, *attended, *gate, *up, *scores, *logits;
    float *keys, *values;      // [layers, context, kv_heads · head]
    float *cosines, *sines;    // [head / 2], of the position at hand
} state;

static void fail(const char *what, const char *which) {
    fprintf(stderr, "llama: %s: %s\n", which, what);
    exit(1);
}

// ---------------------------------------------------------------------------------------------------- the mathematics

// y = W x
static void multiply(float *y, const float *weight, const float *x, int out, int in) {
    for (int row = 0; row < out; row++) {
        float sum = 0;
        for (int column = 0; column < in; column++) sum += weight[(size_t)row * in + column] * x[column];
        y[row] = sum;
    }
}

// y = x / √(mean(x²) + ε) ⊙ weight
static void rms_norm(float *y, const float *x, const float *weight, int count, float epsilon) {
    float squares = 0;
    for (int i = 0; i < count; i++) squares += x[i] * x[i];
    const float scale = 1 / sqrtf(squares / count + epsilon);
    for (int i = 0; i < count; i++) y[i] = x[i] * scale * weight[i];
}

// Pair i of a head is (x[i], x[i + head/2]), turned by position · theta^(−2i / head).
static void rotate(float *x, int heads, int head, const float *cosines, const float *sines) {
    const int half = head / 2;
    for (int h = 0; h < heads; h++, x += head) {
        for (int i = 0; i < half; i++) {
            const float a = x[i], b = x[i + half];
            x[i] = a * cosines[i] - b * sines[i];
            x[i + half] = b * cosines[i] + a * sines[i];
        }
    }
}

static void softmax(float *x, int count) {
    float largest = x[0], sum = 0;
    for (int i = 1; i < count; i++) largest = x[i] > largest ? x[i] : largest;
    for (int i = 0; i < count; i++) sum += x[i] = expf(x[i] - largest);
    for (int i = 0; i < count; i++) x[i] /= sum;
}

// One query head at a time, over all positions so far; `heads / kv_heads` query heads share a key head.
static void attend(const model *m, state *s, const float *keys, const float *values, int position) {
    const int head = m->is.head, kv_width = m->is.kv_heads * head, shared = m->is.heads / m->is.kv_heads;
    const float scale = 1 / sqrtf((float)head);
    for (int h = 0; h < m->is.heads; h++) {
        const float *query = s->query + h * head;
        const float *key = keys + h / shared * head, *value = values + h / shared * head;
        float *attended = s->attended + h * head;
        for (int p = 0; p <= position; p++) {
            float sum = 0;
            for (int i = 0; i < head; i++) sum += query[i] * key[(size_t)p * kv_width + i];
            s->scores[p] = sum * scale;
        }
        softmax(s->scores, position + 1);
        for (int i = 0; i < head; i++) attended[i] = 0;
        for (int p = 0; p <= position; p++) {
            for (int i = 0; i < head; i++) attended[i] += s->scores[p] * value[(size_t)p * kv_width + i];
        }
    }
}

// The logits that follow `token` at `position`, in s->logits.
static void forward(const model *m, state *s, int token, int position) {
    const configuration *is = &m->is;
    const int width = is->heads * is->head, kv_width = is->kv_heads * is->head;
    memcpy(s->x, m->embedding + (size_t)token * is->hidden, is->hidden * sizeof(float));
    for (int i = 0; i < is->head / 2; i++) {
        const float angle = position * powf(is->theta, -2.0f * i / is->head);
        s->cosines[i] = cosf(angle);
        s->sines[i] = sinf(angle);
    }
    for (int l = 0; l < is->layers; l++) {
        const layer *w = &m->layers[l];
        float *keys = s->keys + (size_t)l * is->context * kv_width;
        float *values = s->values + (size_t)l * is->context * kv_width;
        float *key = keys + (size_t)position * kv_width, *value = values + (size_t)position * kv_width;

        // x += O · attention(Q n, K n, V n), n = norm(x)
        rms_norm(s->normed, s->x, w->attention_norm, is->hidden, is->epsilon);
        multiply(s->query, w->query, s->normed, width, is->hidden);
        multiply(key, w->key, s->normed, kv_width, is->hidden);
        multiply(value, w->value, s->normed, kv_width, is->hidden);
        rotate(s->query, is->heads, is->head, s->cosines, s->sines);
        rotate(key, is->kv_heads, is->head, s->cosines, s->sines);
        attend(m, s, keys, values, position);
        multiply(s->normed, w->output, s->attended, is->hidden, width);
        for (int i = 0; i < is->hidden; i++) s->x[i] += s->normed[i];

        // x += D · (silu(G n) ⊙ U n), n = norm(x), silu(v) = v / (1 + e^−v)
        rms_norm(s->normed, s->x, w->mlp_norm, is->hidden, is->epsilon);
        multiply(s->gate, w->gate, s->normed, is->intermediate, is->hidden);
        multiply(s->up, w->up, s->normed, is->intermediate, is->hidden);
        for (int i = 0; i < is->intermediate; i++) s->gate[i] = s->gate[i] / (1 + expf(-s->gate[i])) * s->up[i];
        multiply(s->normed, w->down, s->gate, is->hidden, is->intermediate);
        for (int i = 0; i < is->hidden; i++) s->x[i] += s->normed[i];
    }
    rms_norm(s->normed, s->x, m->norm, is->hidden, is->epsilon);
    multiply(s->logits, m->head, s->normed, is->vocabulary, is->hidden);
}

static int largest(const float *x, int count) {
    int best = 0;
    for (int i = 1; i < count; i++) best = x[i] > x[best] ? i : best;
    return best;
}

// ----------------------------------------------------------------------------------------------------------- the files

// The whole file and a zero byte behind it.
static char *read_file(const char *path, size_t *count) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) fail("can't be opened", path);
    fseek(file, 0, SEEK_END);
    const long size = ftell(file);
    rewind(file);
    char *bytes = malloc((size_t)size + 1);
    if (bytes == NULL || fread(bytes, 1, (size_t)size, file) != (size_t)size) fail("can't be read", path);
    fclose(file);
    bytes[size] = 0;
    *count = (size_t)size;
    return bytes;
}

// What follows `"key" :` in a JSON text whose keys are unique, or NULL.
static const char *json_value(const char *json, const char *key) {
    char quoted[256];
    snprintf(quoted, sizeof quoted, "\"%s\"", key);
    const char *found = strstr(json, quoted);
    if (found == NULL) return NULL;
    found += strlen(quoted);
    return found + strspn(found, " \t\r\n:");
}

static double json_number(const char *json, const char *key, double otherwise) {
    const char *value = json_value(json, key);
    if (value == NULL || strncmp(value, "null", 4) == 0) return otherwise;
    return strtod(value, NULL);
}

static int positive(const char *json, const char *key, int otherwise) {
    const int value = (int)json_number(json, key, otherwise);
    if (value <= 0) fail("is missing or not a positive number", key);
    return value;
}

static configuration read_configuration(const char *path) {
    size_t count;
    char *json = read_file(path, &count);
    const char *scaling = json_value(json, "rope_scaling");
    if (scaling != NULL && strncmp(scaling, "null", 4) != 0) fail("rotary scaling is not supported", path);
    configuration c;
    c.hidden = positive(json, "hidden_size", 0);
    c.intermediate = positive(json, "intermediate_size", 0);
    c.layers = positive(json, "num_hidden_layers", 0);
    c.heads = positive(json, "num_attention_heads", 0);
    c.kv_heads = positive(json, "num_key_value_heads", c.heads);
    c.head = positive(json, "head_dim", c.hidden / c.heads);
    c.vocabulary = positive(json, "vocab_size", 0);
    c.context = positive(json, "max_position_embeddings", 0);
    c.epsilon = (float)json_number(json, "rms_norm_eps", 1e-6);
    c.theta = (float)json_number(json, "rope_theta", 10000);
    free(json);
    return c;
}

// A copy of a tensor as float32, or NULL where the file has none of that name.
static float *find_tensor(const char *file, size_t file_size, const char *name, size_t count) {
    uint64_t header_size;
    memcpy(&header_size, file, sizeof header_size);
    const char *entry = json_value(file + 8, name);
    if (entry == NULL || entry >= file + 8 + header_size) return NULL;
    const char *offsets = json_value(entry, "data_offsets"), *type = json_value(entry, "dtype");
    if (offsets == NULL || type == NULL) fail("has no place or type", name);
    char *end;
    const size_t from = strtoull(offsets + strspn(offsets, " ["), &end, 10);
    const size_t to = strtoull(end + strspn(end, " ,"), NULL, 10);
    const bool is_float32 = strncmp(type, "\"F32\"", 5) == 0;
    if (!is_float32 && strncmp(type, "\"BF16\"", 6) != 0) fail("is neither F32 nor BF16", name);
    if (to < from || to > file_size - 8 - header_size || to - from != count * (is_float32 ? 4 : 2)) {
        fail("has not the size that the configuration asks for", name);
    }
    const char *bytes = file + 8 + header_size + from;
    float *values = malloc(count * sizeof(float));
    if (values == NULL) fail("does not fit into memory", name);
    for (size_t i = 0; i < count; i++) {
        if (is_float32) {
            memcpy(&values[i], bytes + 4 * i, 4);
        } else {
            uint16_t high;
            memcpy(&high, bytes + 2 * i, 2);
            const uint32_t bits = (uint32_t)high << 16;
            memcpy(&values[i], &bits, 4);
        }
    }
    return values;
}

static float *tensor(const char *file, size_t file_size, const char *name, size_t rows, size_t columns) {
    float *values = find_tensor(file, file_size, name, rows * columns);
    if (values == NULL) fail("is not in model.safetensors", name);
    return values;
}

static float *layer_tensor(const char *file, size_t file_size, int l, const char *name, size_t rows, size_t columns) {
    char full[256];
    snprintf(full, sizeof full, "model.layers.%d.%s.weight", l, name);
    return tensor(file, file_size, full, rows, columns);
}

static model read_model(const char *directory) {
    char path[4096];
    snprintf(path, sizeof path, "%s/config.json", directory);
    model m = {.is = read_configuration(path)};
    const configuration *is = &m.is;
    const int width = is->heads * is->head, kv_width = is->kv_heads * is->head;
    snprintf(path, sizeof path, "%s/model.safetensors", directory);
    size_t size;
    char *file = read_file(path, &size);
    uint64_t header_size = 0;
    if (size >= 8) memcpy(&header_size, file, 8);
    if (size < 8 || header_size > size - 8) fail("is not a safetensors file", path);

    m.embedding = tensor(file, size, "model.embed_tokens.weight", is->vocabulary, is->hidden);
    m.norm = tensor(file, size, "model.norm.weight", is->hidden, 1);
    m.head = find_tensor(file, size, "lm_head.weight", (size_t)is->vocabulary * is->hidden);
    if (m.head == NULL) m.head = m.embedding;
    m.layers = malloc(is->layers * sizeof(layer));
    for (int l = 0; l < is->layers; l++) {
        m.layers[l] = (layer){
            .attention_norm = layer_tensor(file, size, l, "input_layernorm", is->hidden, 1),
            .query = layer_tensor(file, size, l, "self_attn.q_proj", width, is->hidden),
            .key = layer_tensor(file, size, l, "self_attn.k_proj", kv_width, is->hidden),
            .value = layer_tensor(file, size, l, "self_attn.v_proj", kv_width, is->hidden),
            .output = layer_tensor(file, size, l, "self_attn.o_proj", is->hidden, width),
            .mlp_norm = layer_tensor(file, size, l, "post_attention_layernorm", is->hidden, 1),
            .gate = layer_tensor(file, size, l, "mlp.gate_proj", is->intermediate, is->hidden),
            .up = layer_tensor(file, size, l, "mlp.up_proj", is->intermediate, is->hidden),
            .down = layer_tensor(file, size, l, "mlp.down_proj", is->hidden, is->intermediate),
        };
    }
    free(file);
    return m;
}

static float *floats(size_t count) {
    float *values = calloc(count, sizeof(float));
    if (values == NULL) fail("does not fit into memory", "state");
    return values;
}

static state make_state(const configuration *is) {
    const size_t width = (size_t)is->heads * is->head;
    const size_t cache = (size_t)is->layers * is->context * is->kv_heads * is->head;
    return (state){
        .x = floats(is->hidden),
        .normed = floats(is->hidden),
        .query = floats(width),
        .attended = floats(width),
        .gate = floats(is->intermediate),
        .up = floats(is->intermediate),
        .scores = floats(is->context),
        .logits = floats(is->vocabulary),
        .keys = floats(cache),
        .values = floats(cache),
        .cosines = floats(is->head / 2),
        .sines = floats(is->head / 2),
    };
}

// --------------------------------------------------------------------------------------------------------- the command

static double now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

// tokens[0 ..< prompt] are given; the rest up to `count` are decoded.
static void decode(const model *m, state *s, int *tokens, int prompt, int count) {
    for (int position = 0; position < count; position++) {
        forward(m, s, tokens[position], position);
        const int next = largest(s->logits, m->is.vocabulary);
        if (position + 1 >= prompt) tokens[position + 1] = next;
    }
}

int main(int argument_count, char **arguments) {
    const char *directory = NULL, *prompt_text = "1";
    int count = 500;
    double least_seconds = 1;
    bool print = false;
    for (int i = 1; i < argument_count; i++) {
        const bool has_value = i + 1 < argument_count;
        if (strcmp(arguments[i], "--print") == 0) print = true;
        else if (strcmp(arguments[i], "--prompt") == 0 && has_value) prompt_text = arguments[++i];
        else if (strcmp(arguments[i], "--tokens") == 0 && has_value) count = atoi(arguments[++i]);
        else if (strcmp(arguments[i], "--seconds") == 0 && has_value) least_seconds = atof(arguments[++i]);
        else if (arguments[i][0] != '-' && directory == NULL) directory = arguments[i];
        else fail("not an option, or its value is missing (the head of llama.c names them)", arguments[i]);
    }
    if (directory == NULL) fail("no model directory was given", "arguments");

    const model m = read_model(directory);
    state s = make_state(&m.is);
    if (count > m.is.context) count = m.is.context;
    int *tokens = calloc((size_t)m.is.context + 1, sizeof(int)), prompt = 0;
    for (char *at = (char *)prompt_text; *at != 0; at += *at == ',') {
        char *end;
        const long token = strtol(at, &end, 10);
        if (end == at || token < 0 || token >= m.is.vocabulary) fail("not ids of this vocabulary", prompt_text);
        if (prompt == m.is.context) fail("longer than the context", prompt_text);
        tokens[prompt++] = (int)token;
        at = end;
        if (*at != ',' && *at != 0) fail("ids are separated by commas", prompt_text);
    }
    if (prompt == 0 || prompt > count) fail("empty, or longer than --tokens", "--prompt");

    decode(&m, &s, tokens, prompt, count);
    int positions = 0;
    double seconds;
    const double begin = now(CLOCK_MONOTONIC), processor_begin = now(CLOCK_PROCESS_CPUTIME_ID);
    do {
        decode(&m, &s, tokens, prompt, count);
        positions += count;
        seconds = now(CLOCK_MONOTONIC) - begin;
    } while (seconds < least_seconds);
    const double processor_seconds = now(CLOCK_PROCESS_CPUTIME_ID) - processor_begin;
    printf("{\"engine\": \"plain C\", \"tokens_per_second\": %.1f, ", positions / seconds);
    printf("\"tokens_per_processor_second\": %.1f, ", positions / processor_seconds);
    printf("\"positions\": %d, \"passes\": %d, \"seconds\": %.3f", count, positions / count, seconds);
    if (print) {
        printf(", \"output_ids\": [");
        for (int i = prompt; i <= count; i++) printf("%s%d", i == prompt ? "" : ", ", tokens[i]);
        printf("]");
    }
    printf("}\n");
}
