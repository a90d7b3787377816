#include "deltamoe.h"

#include <stdbool.h>

enum { STEP_US = 10, CHUNK = 64 };

static uint32_t get(struct deltamoe *device, uint32_t offset) {
    return device->bus->read_register(device->bus->context, offset);
}

static void put(struct deltamoe *device, uint32_t offset, uint32_t value) {
    device->bus->write_register(device->bus->context, offset, value);
}

/* Both halves of an address, of which the second is the next register. */
static void put_address(struct deltamoe *device, uint32_t offset, uint64_t address) {
    put(device, offset, (uint32_t)address);
    put(device, offset + 4, (uint32_t)(address >> 32));
}

static bool bits(struct deltamoe *device, uint32_t mask) {
    return (get(device, DELTAMOE_REG_STATUS) & mask) != 0;
}

/* Wait until bits of the status are 0. */
static bool falls(struct deltamoe *device, uint32_t mask, uint32_t timeout_us) {
    for (uint64_t waited = 0; bits(device, mask); waited += STEP_US) {
        if (waited >= timeout_us)
            return false;
        device->bus->wait(device->bus->context, STEP_US);
    }
    return true;
}

static uint32_t crc32(const uint8_t *data, size_t size) {
    uint32_t crc = UINT32_MAX;
    for (size_t n = 0; n < size; n++) {
        crc ^= data[n];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (UINT32_C(0xedb88320) & (0 - (crc & 1)));
    }
    return ~crc;
}

enum deltamoe_result deltamoe_open(struct deltamoe *device, const struct deltamoe_bus *bus,
                                   const struct deltamoe_program *program, uint64_t memory) {
    *device = (struct deltamoe){.bus = bus, .program = program, .memory = memory};
    if (get(device, DELTAMOE_REG_MAGIC) != DELTAMOE_MAGIC)
        return DELTAMOE_ABSENT;
    if (get(device, DELTAMOE_REG_VERSION) != DELTAMOE_VERSION)
        return DELTAMOE_OTHER_VERSION;
    if (get(device, DELTAMOE_REG_CONFIGURATION) != program->configuration)
        return DELTAMOE_OTHER_HARDWARE;
    uint64_t most = UINT64_C(1) << program->address_bits;
    if (memory % program->memory_alignment || memory > most - program->memory_bytes)
        return DELTAMOE_MEMORY;
    return DELTAMOE_OK;
}

enum deltamoe_result deltamoe_load(struct deltamoe *device, const void *image, size_t size) {
    const struct deltamoe_program *program = device->program;
    if (bits(device, DELTAMOE_STATUS_BUSY | DELTAMOE_STATUS_DRAINING))
        return DELTAMOE_BUSY;
    if (size != program->image_bytes || crc32(image, size) != program->image_crc32)
        return DELTAMOE_IMAGE;
    device->bus->write_memory(device->bus->context, device->memory + program->image_address, image, size);
    return DELTAMOE_OK;
}

/* The byte at a place of the input: a pixel of a patch less what stands for zero, or what fills up. */
static uint8_t code(const struct deltamoe_program *program, const uint8_t *pixels, uint32_t place) {
    uint32_t side = program->patch_size, across = program->width / side;
    uint32_t patch = place / program->patch_bytes, within = place % program->patch_bytes;
    uint32_t channel = within / (side * side), row = within / side % side, column = within % side;
    if (patch >= across * (program->height / side) || channel >= program->channels)
        return 0;
    row += patch / across * side;
    column += patch % across * side;
    return (uint8_t)(pixels[((size_t)channel * program->height + row) * program->width + column] - program->pixel_zero);
}

void deltamoe_write_input(struct deltamoe *device, const uint8_t *pixels) {
    const struct deltamoe_program *program = device->program;
    uint8_t bytes[CHUNK];
    for (uint32_t first = 0; first < program->input_bytes; first += CHUNK) {
        uint32_t size = program->input_bytes - first < CHUNK ? program->input_bytes - first : CHUNK;
        for (uint32_t n = 0; n < size; n++)
            bytes[n] = code(program, pixels, first + n);
        device->bus->write_memory(device->bus->context, device->memory + program->input_address + first, bytes, size);
    }
}

enum deltamoe_result deltamoe_start(struct deltamoe *device) {
    const struct deltamoe_program *program = device->program;
    if (bits(device, DELTAMOE_STATUS_BUSY))
        return DELTAMOE_BUSY;
    put_address(device, DELTAMOE_REG_PROGRAM_LOW, device->memory + program->program_address);
    put(device, DELTAMOE_REG_PROGRAM_LENGTH, program->program_length);
    put_address(device, DELTAMOE_REG_MEMORY_LOW, device->memory);
    put(device, DELTAMOE_REG_MEMORY_SIZE, program->memory_bytes);
    put(device, DELTAMOE_REG_WATCHDOG, DELTAMOE_WATCHDOG);
    put(device, DELTAMOE_REG_INTERRUPT_ENABLE, DELTAMOE_INTERRUPT_ENABLE_ENDED);
    put(device, DELTAMOE_REG_CONTROL, DELTAMOE_CONTROL_START);
    return DELTAMOE_OK;
}

enum deltamoe_result deltamoe_wait(struct deltamoe *device, uint32_t timeout_us) {
    if (!falls(device, DELTAMOE_STATUS_BUSY, timeout_us))
        return DELTAMOE_TIMEOUT;
    deltamoe_acknowledge(device);
    if (!bits(device, DELTAMOE_STATUS_ERROR))
        return DELTAMOE_OK;
    device->error = get(device, DELTAMOE_REG_ERROR_CODE);
    device->error_index = get(device, DELTAMOE_REG_ERROR_INDEX);
    return DELTAMOE_FAILED;
}

void deltamoe_acknowledge(struct deltamoe *device) {
    put(device, DELTAMOE_REG_INTERRUPT_STATUS, DELTAMOE_INTERRUPT_STATUS_ENDED);
}

void deltamoe_read_output(struct deltamoe *device, const struct deltamoe_output *output, int16_t *values) {
    size_t count = (size_t)output->rows * output->columns;
    device->bus->read_memory(device->bus->context, device->memory + output->address, values, 2 * count);
    for (size_t n = 0; n < count; n++) {
        const uint8_t *bytes = (const uint8_t *)&values[n];
        values[n] = (int16_t)(uint16_t)(bytes[0] | bytes[1] << 8);
    }
}

enum deltamoe_result deltamoe_reset(struct deltamoe *device, uint32_t timeout_us) {
    put(device, DELTAMOE_REG_CONTROL, DELTAMOE_CONTROL_RESET);
    return falls(device, DELTAMOE_STATUS_DRAINING, timeout_us) ? DELTAMOE_OK : DELTAMOE_TIMEOUT;
}

enum deltamoe_result deltamoe_run(struct deltamoe *device, const uint8_t *pixels, int16_t *tokens, int16_t *scores,
                                  uint32_t timeout_us) {
    if (bits(device, DELTAMOE_STATUS_BUSY))
        return DELTAMOE_BUSY;
    deltamoe_write_input(device, pixels);
    enum deltamoe_result result = deltamoe_start(device);
    if (result == DELTAMOE_OK)
        result = deltamoe_wait(device, timeout_us);
    if (result != DELTAMOE_OK)
        return result;
    if (tokens)
        deltamoe_read_output(device, &device->program->tokens, tokens);
    if (scores)
        deltamoe_read_output(device, &device->program->scores, scores);
    return DELTAMOE_OK;
}

uint64_t deltamoe_counter(struct deltamoe *device, uint32_t offset) {
    uint64_t low = get(device, offset);
    return low | (uint64_t)get(device, offset + 4) << 32;
}

const char *deltamoe_result_text(enum deltamoe_result result) {
    switch (result) {
    case DELTAMOE_OK: return "done";
    case DELTAMOE_ABSENT: return "there is no accelerator";
    case DELTAMOE_OTHER_VERSION: return "the accelerator's registers are of another version";
    case DELTAMOE_OTHER_HARDWARE: return "the program was built for another accelerator";
    case DELTAMOE_MEMORY: return "the memory is not aligned, or beyond the accelerator's addresses";
    case DELTAMOE_IMAGE: return "the image is not that of the program";
    case DELTAMOE_BUSY: return "a program runs";
    case DELTAMOE_TIMEOUT: return "it takes longer than it may";
    case DELTAMOE_FAILED: return "the accelerator ended the program with an error";
    }
    return "not a result";
}

const char *deltamoe_error_text(const struct deltamoe *device) {
    switch (device->error) {
#define TEXT(code, text) case code: return text;
        DELTAMOE_ERRORS(TEXT)
#undef TEXT
    case DELTAMOE_ERROR_NONE: return "no error";
    default: return "an error that this driver does not know";
    }
}

const char *deltamoe_error_descriptor(const struct deltamoe *device) {
    const struct deltamoe_program *program = device->program;
    return device->error_index < program->program_length ? program->descriptors[device->error_index] : "none";
}
