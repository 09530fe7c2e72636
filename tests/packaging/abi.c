/* The C interface as a C program uses it: abi BUNDLE. Every misuse is a status, and nothing crosses the border. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edgeprune/edgeprune.h"

#define EXPECT(condition)                                                  \
    do {                                                                   \
        if (!(condition)) {                                                \
            fprintf(stderr, "line %d: %s (%s)\n", __LINE__, #condition, error); \
            return 1;                                                      \
        }                                                                  \
    } while (0)

int main(int count, char** words) {
    char error[256] = "";
    char tiny[8];
    edgeprune_model* model = NULL;
    edgeprune_options pinned = {0};
    unsigned char pixels[20 * 16 * 3];
    edgeprune_image image = {pixels, 20, 16, 3};
    edgeprune_image empty = {pixels, 0, 16, 3};
    edgeprune_class classes[2];
    size_t room = 2, in, out;
    float *input, *output;
    double worst = -1;
    if (count != 2) return 64;
    memset(pixels, 100, sizeof pixels);

    EXPECT(edgeprune_abi_version() == EDGEPRUNE_ABI_VERSION);
    EXPECT(edgeprune_load(NULL, NULL, &model, error, sizeof error) == EDGEPRUNE_MISUSED);
    EXPECT(edgeprune_load("nowhere", NULL, &model, error, sizeof error) == EDGEPRUNE_REFUSED);
    EXPECT(model == NULL && strstr(error, "no bundle here") != NULL);
    EXPECT(edgeprune_load("nowhere", NULL, &model, tiny, sizeof tiny) == EDGEPRUNE_REFUSED && strcmp(tiny, "nowhere") == 0);
    EXPECT(edgeprune_load("nowhere", NULL, &model, NULL, 0) == EDGEPRUNE_REFUSED);
    pinned.manifest_sha256 = "00";
    EXPECT(edgeprune_load(words[1], &pinned, &model, error, sizeof error) == EDGEPRUNE_REFUSED);
    EXPECT(strstr(error, "not the bundle that this program was made for") != NULL);
    EXPECT(edgeprune_load(words[1], NULL, &model, error, sizeof error) == EDGEPRUNE_OK && error[0] == '\0');

    in = edgeprune_input_size(model);
    out = edgeprune_output_size(model);
    EXPECT(in == 3 * 12 * 12 && out == 3 && edgeprune_input_size(NULL) == 0);
    input = calloc(2 * in, sizeof *input);
    output = calloc(2 * out, sizeof *output);
    EXPECT(input != NULL && output != NULL);
    EXPECT(edgeprune_preprocess(model, &image, input, in, error, sizeof error) == EDGEPRUNE_OK);
    EXPECT(edgeprune_preprocess(model, &image, input, in - 1, error, sizeof error) == EDGEPRUNE_MISUSED);
    EXPECT(edgeprune_preprocess(model, &empty, input, in, error, sizeof error) == EDGEPRUNE_REFUSED);
    memcpy(input + in, input, in * sizeof *input);
    EXPECT(edgeprune_run(model, input, 2 * in, output, 2 * out, 2, error, sizeof error) == EDGEPRUNE_OK);
    EXPECT(memcmp(output, output + out, out * sizeof *output) == 0);
    EXPECT(edgeprune_run(model, input, in, output, out, 0, error, sizeof error) == EDGEPRUNE_MISUSED);
    EXPECT(edgeprune_run(model, input, in, output, 2 * out, 1, error, sizeof error) == EDGEPRUNE_MISUSED);
    EXPECT(edgeprune_classify(model, &image, classes, &room, error, sizeof error) == EDGEPRUNE_OK && room == 2);
    EXPECT(classes[0].probability >= classes[1].probability && classes[0].score == output[classes[0].index]);
    EXPECT(edgeprune_check_golden(model, &worst, error, sizeof error) == EDGEPRUNE_OK && worst >= 0 && worst < 1e-3);
    printf("%s\n", classes[0].label);
    free(input);
    free(output);
    edgeprune_free(model);
    edgeprune_free(NULL);
    return 0;
}
