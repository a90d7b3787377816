/* A driver of the accelerator for C11, without operating system or allocation.
 *
 * The user supplies five functions: to read and write a register, to copy to and from the memory that accelerator and
 * processor share, and to wait. A network comes from `deltamoe build`: program.h, to be included once, and program.bin.
 *
 *     struct deltamoe device;
 *     if (deltamoe_open(&device, &bus, &deltamoe_program, memory) != DELTAMOE_OK) ...
 *     if (deltamoe_reset(&device, 1000000) != DELTAMOE_OK) ...
 *     if (deltamoe_load(&device, image, sizeof image) != DELTAMOE_OK) ...
 *     if (deltamoe_run(&device, pixels, tokens, scores, 1000000) != DELTAMOE_OK)
 *         puts(deltamoe_error_text(&device));
 *
 * One processor uses a device, and of it one thread at a time.
 */
#ifndef DELTAMOE_H
#define DELTAMOE_H

#include <stddef.h>
#include <stdint.h>

#include "deltamoe_registers.h"

enum deltamoe_result {
    DELTAMOE_OK = 0,
    DELTAMOE_ABSENT,         /* the register magic is not that of an accelerator */
    DELTAMOE_OTHER_VERSION,  /* its registers are of a version that this driver does not know */
    DELTAMOE_OTHER_HARDWARE, /* the program was built for another geometry */
    DELTAMOE_MEMORY,         /* the memory's address is not aligned, or beyond the accelerator's */
    DELTAMOE_IMAGE,          /* the image is not the one that program.h is of */
    DELTAMOE_BUSY,           /* a program runs; wait for its end, or reset */
    DELTAMOE_TIMEOUT,        /* it takes longer than it may; it still runs */
    DELTAMOE_FAILED          /* the accelerator ended the program with an error, which is in the device */
};

/* What the driver needs of the board; context is handed to each. */
struct deltamoe_bus {
    void *context;
    uint32_t (*read_register)(void *context, uint32_t offset);
    /* Return when the bus has answered, so that a read behind it sees what it changed. */
    void (*write_register)(void *context, uint32_t offset, uint32_t value);
    /* Copy to an address of the accelerator's; flush caches behind it. */
    void (*write_memory)(void *context, uint64_t address, const void *data, size_t size);
    /* Invalidate caches; copy from an address of the accelerator's. */
    void (*read_memory)(void *context, uint64_t address, void *data, size_t size);
    /* Wait so long; perhaps less, if the interrupt comes. */
    void (*wait)(void *context, uint32_t microseconds);
};

/* Rows of int16, from an address on that is counted from the memory's; no rows: there is no such output. */
struct deltamoe_output {
    uint32_t address, rows, columns;
};

/* A network, as program.h initializes it. */
struct deltamoe_program {
    const char *network, *hardware;
    uint32_t configuration; /* register configuration of the hardware it was built for */
    uint32_t memory_bytes, memory_alignment, address_bits;
    uint32_t image_address, image_bytes, image_crc32;
    uint32_t program_address, program_length;
    uint32_t input_address, input_bytes;
    uint32_t channels, height, width, patch_size, patch_bytes, pixel_zero;
    struct deltamoe_output tokens, scores;
    double token_scale; /* a token's elements over it are real numbers */
    const char *const *descriptors;
};

struct deltamoe {
    const struct deltamoe_bus *bus;
    const struct deltamoe_program *program;
    uint64_t memory;
    uint32_t error, error_index; /* of the last program that failed */
};

/* Recognize the accelerator, and refuse one that the program was not built for, before anything else of it is read or
 * written. The program gets memory_bytes bytes from the address `memory` on, as the accelerator sees them. */
enum deltamoe_result deltamoe_open(struct deltamoe *device, const struct deltamoe_bus *bus,
                                   const struct deltamoe_program *program, uint64_t memory);

/* Copy program.bin to memory, once. If a program runs, of a processor that was restarted perhaps, reset first. */
enum deltamoe_result deltamoe_load(struct deltamoe *device, const void *image, size_t size);

/* Write a picture of 8 bits to memory: channel by channel, row by row. */
void deltamoe_write_input(struct deltamoe *device, const uint8_t *pixels);

enum deltamoe_result deltamoe_start(struct deltamoe *device);

/* Wait for the end of the program, take its interrupt, and tell how it ended. */
enum deltamoe_result deltamoe_wait(struct deltamoe *device, uint32_t timeout_us);

/* Take the interrupt, in a handler: it is high from the end of a program until this, a wait, a start or a reset. */
void deltamoe_acknowledge(struct deltamoe *device);

/* Copy an output, &program->tokens or &program->scores, to `values`, which has room for rows * columns. */
void deltamoe_read_output(struct deltamoe *device, const struct deltamoe_output *output, int16_t *values);

/* End whatever runs, and wait until the memory owes no answers. Settings and memory stay as they are. */
enum deltamoe_result deltamoe_reset(struct deltamoe *device, uint32_t timeout_us);

/* A picture in, outputs out; what is NULL is not read. */
enum deltamoe_result deltamoe_run(struct deltamoe *device, const uint8_t *pixels, int16_t *tokens, int16_t *scores,
                                  uint32_t timeout_us);

/* A counter of the last program, by its DELTAMOE_COUNTER_ offset. */
uint64_t deltamoe_counter(struct deltamoe *device, uint32_t offset);

/* Text of a result. */
const char *deltamoe_result_text(enum deltamoe_result result);

/* Text of the error of the last program that failed. */
const char *deltamoe_error_text(const struct deltamoe *device);

/* What the descriptor is for at which it failed. */
const char *deltamoe_error_descriptor(const struct deltamoe *device);

#endif
