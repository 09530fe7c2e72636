/* A CUDA driver of host memory, for NVIDIA's own cuda-bindings: the calls that are used, with the driver's types.
   Compile with -DVERSION=12060 for a driver that speaks CUDA 12.6: it has no function that came later. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { OK = 0, INVALID = 1, NOT_FOUND = 500, NOT_PERMITTED = 800, MOST = 64 };
typedef struct { void *to; const void *from; size_t count; } Copy;
typedef struct { int capturing, copies; Copy copy[MOST]; } Stream;
typedef struct { double ms; } Event;
typedef uint64_t Address;

int cuInit(unsigned flags) { return flags ? INVALID : OK; }
int cuDriverGetVersion(int *version) { *version = VERSION; return OK; }
int cuDeviceGetCount(int *count) { *count = 1; return OK; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return ordinal ? INVALID : OK; }
int cuDeviceGetName(char *name, int length, int device) { snprintf(name, length, "Orin"); return device; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)8 << 30; return device; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  *value = attribute == 75 ? 8 : attribute == 76 ? 7 : attribute == 18;
  return device;
}
int cuGetErrorString(int code, const char **text) { *text = code == INVALID ? "invalid argument" : "unknown"; return OK; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)0x77; return device; }
int cuCtxSetCurrent(void *context) { return context == (void *)0x77 ? OK : INVALID; }
int cuMemAlloc_v2(Address *address, size_t count) { *address = (Address)(uintptr_t)malloc(count); return OK; }
int cuMemFree_v2(Address address) { free((void *)(uintptr_t)address); return OK; }
int cuMemHostAlloc(void **page, size_t count, unsigned flags) { *page = malloc(count); return flags ? INVALID : OK; }
int cuMemFreeHost(void *page) { free(page); return OK; }
int cuStreamCreate(Stream **stream, unsigned flags) { *stream = calloc(1, sizeof **stream); return flags == 1 ? OK : INVALID; }
int cuStreamSynchronize(Stream *stream) { return stream->capturing ? NOT_PERMITTED : OK; }

static int copied(void *to, const void *from, size_t count, Stream *stream) {
  if (!stream->capturing) memcpy(to, from, count);
  else stream->copy[stream->copies++] = (Copy){to, from, count};
  return OK;
}
int cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t count, Stream *stream) {
  return copied((void *)(uintptr_t)to, from, count, stream);
}
int cuMemcpyDtoHAsync_v2(void *to, Address from, size_t count, Stream *stream) {
  return copied(to, (void *)(uintptr_t)from, count, stream);
}
int cuEventCreate(Event **event, unsigned flags) { *event = calloc(1, sizeof **event); return flags ? INVALID : OK; }
int cuEventRecord(Event *event, Stream *stream) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  event->ms = 1e3 * now.tv_sec + 1e-6 * now.tv_nsec;
  return stream ? OK : INVALID;
}
int cuEventElapsedTime(float *ms, Event *start, Event *end) { *ms = (float)(end->ms - start->ms); return OK; }
int cuEventElapsedTime_v2(float *ms, Event *start, Event *end) { return cuEventElapsedTime(ms, start, end); }
int cuStreamBeginCapture_v2(Stream *stream, int mode) { stream->copies = 0; stream->capturing = 1; return mode == 1 ? OK : INVALID; }
int cuStreamEndCapture(Stream *stream, Stream **graph) {
  stream->capturing = 0;
  *graph = malloc(sizeof **graph);
  **graph = *stream;
  return OK;
}
int cuGraphInstantiateWithFlags(Stream **executable, Stream *graph, unsigned long long flags) {
  *executable = graph;
  return flags ? INVALID : OK;
}
int cuGraphLaunch(Stream *executable, Stream *stream) {
  for (int i = 0; i < executable->copies; i++) {
    Copy each = executable->copy[i];
    copied(each.to, each.from, each.count, stream);
  }
  return OK;
}

/* Names have no version here: the newest form that the asked version has is answered. */
int cuGetProcAddress_v2(const char *name, void **found, int version, uint64_t flags, int *status) {
  char newer[128];
  *found = NULL;
  if (version <= VERSION && flags <= 1) {
    snprintf(newer, sizeof newer, "%s_v2", name);
    if (!strcmp(name, "cuGraphInstantiate") && version >= 12000) *found = (void *)cuGraphInstantiateWithFlags;
    else if (strcmp(name, "cuEventElapsedTime") || version >= 12080) *found = dlsym(RTLD_DEFAULT, newer);
    if (!*found) *found = dlsym(RTLD_DEFAULT, name);
  }
  if (status) *status = *found ? 0 : 1;
  return *found ? OK : NOT_FOUND;
}
int cuGetProcAddress(const char *name, void **found, int version, uint64_t flags) {
  return cuGetProcAddress_v2(name, found, version, flags, NULL);
}
