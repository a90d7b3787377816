/* Runs the C driver on the Verilated model, which serves registers and memory through standard input and output.
 *
 * on_model IMAGE PIXELS MEMORY OUTPUTS
 * MEMORY is the address of the network's memory. Writes the outputs of a run to the file OUTPUTS, then breaks things;
 * says on standard error how each step ended.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"

enum { TOKENS = 4096, SCORES = 64, CYCLES_PER_US = 100, SHORT_US = 20, LONG_US = 100000 };

static void send(uint64_t value) {
    for (int n = 0; n < 8; n++)
        putchar((int)(value >> 8 * n & 255));
}

static void command(char letter, uint64_t first, uint64_t second) {
    putchar(letter);
    send(first);
    send(second);
}

static void receive(void *data, size_t size) {
    fflush(stdout);
    if (fread(data, 1, size, stdin) != size)
        exit(3);
}

static uint32_t wrong = UINT32_MAX; /* a register that reads as another value */
static unsigned accesses;           /* of anything since it was set */

static uint32_t read_register(void *context, uint32_t offset) {
    uint8_t bytes[4];
    accesses++;
    (void)context;
    putchar('R');
    send(offset);
    receive(bytes, sizeof bytes);
    uint32_t value = bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
    return offset == wrong ? value ^ 1 : value;
}

static void write_register(void *context, uint32_t offset, uint32_t value) {
    (void)context;
    accesses++;
    command('W', offset, value);
}

static void write_memory(void *context, uint64_t address, const void *data, size_t size) {
    (void)context;
    command('P', address, size);
    fwrite(data, 1, size, stdout);
}

static void read_memory(void *context, uint64_t address, void *data, size_t size) {
    (void)context;
    command('G', address, size);
    receive(data, size);
}

static void pass(void *context, uint32_t microseconds) {
    uint8_t bytes[8];
    (void)context;
    putchar('T');
    send((uint64_t)microseconds * CYCLES_PER_US);
    receive(bytes, sizeof bytes);
}

static void silence(bool silent) {
    putchar('S');
    send(silent);
}

static void fail(uint64_t address) {
    putchar('F');
    send(address);
}

static uint8_t *content(const char *name, size_t *size) {
    FILE *file = fopen(name, "rb");
    uint8_t *bytes = malloc(1 << 20);
    if (!file || !bytes)
        exit(4);
    *size = fread(bytes, 1, 1 << 20, file);
    fclose(file);
    return bytes;
}

static void say(const char *step, enum deltamoe_result result) {
    fprintf(stderr, "%s: %s\n", step, deltamoe_result_text(result));
}

/* Open an accelerator, one of whose registers is wrong; say what was done to it. */
static void strange(const char *step, uint32_t offset, const struct deltamoe_bus *bus, uint64_t memory) {
    struct deltamoe device;
    wrong = offset;
    accesses = 0;
    say(step, deltamoe_open(&device, bus, &deltamoe_program, memory));
    fprintf(stderr, "accesses: %u\n", accesses);
    wrong = UINT32_MAX;
}

static int16_t tokens[TOKENS], scores[SCORES], expected_tokens[TOKENS], expected_scores[SCORES];

static void again(const char *step, struct deltamoe *device, const uint8_t *pixels) {
    memset(tokens, 0, sizeof tokens);
    memset(scores, 0, sizeof scores);
    say(step, deltamoe_run(device, pixels, tokens, scores, LONG_US));
    if (memcmp(tokens, expected_tokens, sizeof tokens) || memcmp(scores, expected_scores, sizeof scores))
        fprintf(stderr, "%s: other outputs\n", step);
}

int main(int argc, char **argv) {
    const struct deltamoe_bus bus = {NULL, read_register, write_register, write_memory, read_memory, pass};
    const struct deltamoe_program *program = &deltamoe_program;
    struct deltamoe device;
    size_t size, pixel_count;
    if (argc != 5 || program->tokens.rows * program->tokens.columns > TOKENS || program->scores.columns > SCORES)
        return 2;
    uint8_t *image = content(argv[1], &size), *pixels = content(argv[2], &pixel_count);
    uint64_t memory = strtoull(argv[3], NULL, 0);

    strange("magic", DELTAMOE_REG_MAGIC, &bus, memory);
    strange("version", DELTAMOE_REG_VERSION, &bus, memory);
    strange("configuration", DELTAMOE_REG_CONFIGURATION, &bus, memory);
    say("unaligned", deltamoe_open(&device, &bus, program, memory + 1));
    say("beyond", deltamoe_open(&device, &bus, program, UINT64_C(1) << 40));
    say("open", deltamoe_open(&device, &bus, program, memory));
    say("short image", deltamoe_load(&device, image, size - 1));
    image[size / 2] ^= 1;
    say("wrong image", deltamoe_load(&device, image, size));
    image[size / 2] ^= 1;
    say("image", deltamoe_load(&device, image, size));
    say("run", deltamoe_run(&device, pixels, expected_tokens, expected_scores, LONG_US));
    fprintf(stderr, "interrupt: %" PRIu32 "\n", read_register(NULL, DELTAMOE_REG_INTERRUPT_STATUS));
    fprintf(stderr, "cycles: %" PRIu64 "\n", deltamoe_counter(&device, DELTAMOE_COUNTER_CYCLES));
    FILE *out = fopen(argv[4], "wb");
    if (!out)
        return 4;
    fwrite(expected_tokens, 2, (size_t)program->tokens.rows * program->tokens.columns, out);
    fwrite(expected_scores, 2, program->scores.columns, out);
    fclose(out);

    silence(true);
    say("silent", deltamoe_run(&device, pixels, NULL, NULL, SHORT_US));
    say("busy", deltamoe_run(&device, pixels, NULL, NULL, SHORT_US));
    say("busy start", deltamoe_start(&device));
    say("busy load", deltamoe_load(&device, image, size));
    say("silent reset", deltamoe_reset(&device, SHORT_US));
    silence(false);
    say("reset", deltamoe_reset(&device, LONG_US));
    again("run after silence", &device, pixels);

    fail(memory + program->input_address);
    say("failing", deltamoe_run(&device, pixels, NULL, NULL, LONG_US));
    fprintf(stderr, "failing: %s; %s\n", deltamoe_error_descriptor(&device), deltamoe_error_text(&device));
    fail(UINT64_MAX);
    say("reset", deltamoe_reset(&device, LONG_US));
    again("run after an error", &device, pixels);
    free(image);
    free(pixels);
    return 0;
}
