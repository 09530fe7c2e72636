/* The C interface of the loader: no exception crosses it, and a fault is a status and one line of text.
 *
 * Functions return EDGEPRUNE_OK or another status; `error` may be NULL, or a buffer of `error_bytes` that receives the
 * line, cut to fit and ended by 0. Strings that are given out belong to the model and live as long as it does. */
#ifndef EDGEPRUNE_EDGEPRUNE_H
#define EDGEPRUNE_EDGEPRUNE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EDGEPRUNE_ABI_VERSION 1

typedef enum edgeprune_status {
    EDGEPRUNE_OK = 0,
    EDGEPRUNE_REFUSED = 1, /* a fault that the user can mend: the text says how */
    EDGEPRUNE_MISUSED = 2, /* NULL where something is needed, or a size that does not fit */
    EDGEPRUNE_FAILED = 3   /* out of memory, or a bug */
} edgeprune_status;

typedef struct edgeprune_model edgeprune_model;

/* Zero-initialise it, then set what is needed; see edgeprune::Options. */
typedef struct edgeprune_options {
    int threads;
    const char* manifest_sha256;
    const char* plan;
    const char* plan_sha256;
} edgeprune_options;

typedef struct edgeprune_image {
    const uint8_t* pixels; /* rows from the top, channels interleaved, no padding */
    int width;
    int height;
    int channels; /* 3: RGB, 1: grey */
} edgeprune_image;

typedef struct edgeprune_class {
    size_t index;
    const char* label;
    float score;
    float probability;
} edgeprune_class;

/* The version of this interface that the library was built with; compare it with EDGEPRUNE_ABI_VERSION. */
int edgeprune_abi_version(void);

/* Check a bundle and load it. `options` may be NULL. Free the model with edgeprune_free. */
edgeprune_status edgeprune_load(const char* bundle, const edgeprune_options* options, edgeprune_model** model,
                                char* error, size_t error_bytes);
void edgeprune_free(edgeprune_model* model);

/* Values of one item; 0 where model is NULL. */
size_t edgeprune_input_size(const edgeprune_model* model);
size_t edgeprune_output_size(const edgeprune_model* model);

/* Preprocess an image into `input`, which holds edgeprune_input_size values. */
edgeprune_status edgeprune_preprocess(const edgeprune_model* model, const edgeprune_image* image, float* input,
                                      size_t input_values, char* error, size_t error_bytes);

/* Run `batch` preprocessed items. */
edgeprune_status edgeprune_run(edgeprune_model* model, const float* input, size_t input_values, float* output,
                               size_t output_values, size_t batch, char* error, size_t error_bytes);

/* Write the likeliest classes of an image, best first: `*count` is the room in `classes`, then how many there are. */
edgeprune_status edgeprune_classify(edgeprune_model* model, const edgeprune_image* image, edgeprune_class* classes,
                                    size_t* count, char* error, size_t error_bytes);

/* Run the golden inputs; `worst` (may be NULL) receives the worst relative distance. */
edgeprune_status edgeprune_check_golden(edgeprune_model* model, double* worst, char* error, size_t error_bytes);

#ifdef __cplusplus
}
#endif

#endif
