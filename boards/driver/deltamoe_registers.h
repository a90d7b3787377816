/* Made by python -m deltamoe.make.driver; do not edit. */
#ifndef DELTAMOE_REGISTERS_H
#define DELTAMOE_REGISTERS_H

#include <stdint.h>

#define DELTAMOE_MAGIC UINT32_C(0x44654d6f) /* register magic */
#define DELTAMOE_VERSION UINT32_C(0x2) /* register version */
#define DELTAMOE_WATCHDOG UINT32_C(0x100000) /* cycles, as after power-up */

/* Byte offsets of the registers, of 32 bits each. */
#define DELTAMOE_REG_MAGIC UINT32_C(0x0) /* 0x44654d6f: this is an accelerator */
#define DELTAMOE_REG_VERSION UINT32_C(0x4) /* 2: the registers are these */
#define DELTAMOE_REG_CONFIGURATION UINT32_C(0x8) /* hash of the geometry that a program is built for */
#define DELTAMOE_REG_ARRAY UINT32_C(0xc) /* the multipliers */
#define DELTAMOE_REG_MAXIMA UINT32_C(0x10) /* the largest network */
#define DELTAMOE_REG_BUS UINT32_C(0x14) /* the way to memory */
#define DELTAMOE_REG_CONTROL UINT32_C(0x20) /* commands */
#define DELTAMOE_REG_STATUS UINT32_C(0x24) /* what the last program came to */
#define DELTAMOE_REG_INTERRUPT_ENABLE UINT32_C(0x28) /* what raises the interrupt */
#define DELTAMOE_REG_INTERRUPT_STATUS UINT32_C(0x2c) /* what has happened, enabled or not */
#define DELTAMOE_REG_ERROR_CODE UINT32_C(0x30) /* ErrorCode of the last program */
#define DELTAMOE_REG_ERROR_INDEX UINT32_C(0x34) /* descriptor it stopped at */
#define DELTAMOE_REG_PROGRAM_LOW UINT32_C(0x40) /* byte address of the program */
#define DELTAMOE_REG_PROGRAM_HIGH UINT32_C(0x44) /* its upper bits */
#define DELTAMOE_REG_PROGRAM_LENGTH UINT32_C(0x48) /* descriptors */
#define DELTAMOE_REG_WATCHDOG UINT32_C(0x4c) /* cycles without progress that end a program, 0: never */
#define DELTAMOE_REG_MEMORY_LOW UINT32_C(0x50) /* byte address that descriptor addresses are relative to */
#define DELTAMOE_REG_MEMORY_HIGH UINT32_C(0x54) /* its upper bits */
#define DELTAMOE_REG_MEMORY_SIZE UINT32_C(0x58) /* bytes that descriptor addresses may reach */

/* Masks of the registers' fields, and places of those of several bits. */
#define DELTAMOE_ARRAY_GROUPS UINT32_C(0xff) /* lane groups */
#define DELTAMOE_ARRAY_GROUPS_SHIFT UINT32_C(0x0)
#define DELTAMOE_ARRAY_LANES UINT32_C(0xff00) /* multipliers of a lane group */
#define DELTAMOE_ARRAY_LANES_SHIFT UINT32_C(0x8)
#define DELTAMOE_MAXIMA_TOKENS UINT32_C(0xffff) /* tokens */
#define DELTAMOE_MAXIMA_TOKENS_SHIFT UINT32_C(0x0)
#define DELTAMOE_MAXIMA_EMBED UINT32_C(0xffff0000) /* elements of a token */
#define DELTAMOE_MAXIMA_EMBED_SHIFT UINT32_C(0x10)
#define DELTAMOE_BUS_BYTES UINT32_C(0xff) /* bytes of a beat of AXI4 */
#define DELTAMOE_BUS_BYTES_SHIFT UINT32_C(0x0)
#define DELTAMOE_BUS_PORTS UINT32_C(0xff00) /* AXI4 interfaces */
#define DELTAMOE_BUS_PORTS_SHIFT UINT32_C(0x8)
#define DELTAMOE_CONTROL_START UINT32_C(0x1) /* begin a program */
#define DELTAMOE_CONTROL_RESET UINT32_C(0x2) /* end a program without a report */
#define DELTAMOE_STATUS_BUSY UINT32_C(0x1) /* it runs, or waits to run */
#define DELTAMOE_STATUS_DONE UINT32_C(0x2) /* it has ended well */
#define DELTAMOE_STATUS_ERROR UINT32_C(0x4) /* it has ended with an error */
#define DELTAMOE_STATUS_DRAINING UINT32_C(0x8) /* the bus still owes answers of a program that was ended */
#define DELTAMOE_INTERRUPT_ENABLE_ENDED UINT32_C(0x1) /* a program has ended */
#define DELTAMOE_INTERRUPT_STATUS_ENDED UINT32_C(0x1) /* a program has ended, well or with an error */

/* Byte offsets of the counters, of 64 bits each, the lower half first. */
#define DELTAMOE_COUNTER_CYCLES UINT32_C(0x100) /* cycles from start to finish */
#define DELTAMOE_COUNTER_COMPUTE_BUSY UINT32_C(0x108) /* cycles in which a compute descriptor was issued or in flight */
#define DELTAMOE_COUNTER_COMPUTE_WAITS_LOADS UINT32_C(0x110) /* cycles in which the next compute descriptor waited for a load */
#define DELTAMOE_COUNTER_COMPUTE_WAITS_COMPUTES UINT32_C(0x118) /* cycles in which it waited for those before it */
#define DELTAMOE_COUNTER_COMPUTE_WAITS_PROGRAM UINT32_C(0x120) /* cycles in which none was there to be issued */
#define DELTAMOE_COUNTER_LOAD_BUSY UINT32_C(0x128) /* cycles in which a load ran */
#define DELTAMOE_COUNTER_LOAD_WAITS_COMPUTES UINT32_C(0x130) /* cycles in which the next load waited for a compute descriptor */
#define DELTAMOE_COUNTER_LOAD_STALLED UINT32_C(0x138) /* cycles of a running load without a beat */
#define DELTAMOE_COUNTER_SOURCE_BUSY UINT32_C(0x140) /* cycles in which a word of operands, or several together, was read */
#define DELTAMOE_COUNTER_SOURCE_NEEDS UINT32_C(0x148) /* cycles in which an item waited for a row of the operator before */
#define DELTAMOE_COUNTER_SOURCE_FULL UINT32_C(0x150) /* cycles in which an item waited for a free queue */
#define DELTAMOE_COUNTER_EVENTS UINT32_C(0x158) /* events sent to the compute unit */
#define DELTAMOE_COUNTER_MACS UINT32_C(0x160) /* multiply-accumulates of the events with useful columns */
#define DELTAMOE_COUNTER_MACS_SKIPPED UINT32_C(0x168) /* multiply-accumulates that elements which were read, but not sent, saved */
#define DELTAMOE_COUNTER_WORKER_BUSY UINT32_C(0x170) /* sum over lane groups: cycles in which an event was taken */
#define DELTAMOE_COUNTER_WORKER_BLOCKED UINT32_C(0x178) /* sum over lane groups: cycles in which an event waited for a free bank */
#define DELTAMOE_COUNTER_DRAIN_BUSY UINT32_C(0x180) /* cycles in which a word of accumulators was drained */
#define DELTAMOE_COUNTER_DRAIN_STARVED UINT32_C(0x188) /* cycles in which the oldest item was not summed yet */
#define DELTAMOE_COUNTER_DRAIN_CREDIT UINT32_C(0x190) /* cycles in which the oldest item waited for the softmax or the gate */
#define DELTAMOE_COUNTER_NORM_WORDS UINT32_C(0x198) /* words that the normalization wrote */
#define DELTAMOE_COUNTER_SOFTMAX_WORDS UINT32_C(0x1a0) /* words of exponentials that the softmax wrote */
#define DELTAMOE_COUNTER_ROUTES UINT32_C(0x1a8) /* routes that the gate made */
#define DELTAMOE_COUNTER_KEPT_WORDS UINT32_C(0x1b0) /* words of kept sums that were added to or kept again */
#define DELTAMOE_COUNTER_REFERENCE_WORDS UINT32_C(0x1b8) /* words of references that operands were compared with or became */
#define DELTAMOE_COUNTER_BYTES_READ UINT32_C(0x1c0) /* bytes read from memory */
#define DELTAMOE_COUNTER_BYTES_WRITTEN UINT32_C(0x1c8) /* bytes written to memory */

/* Values of error_code. */
enum deltamoe_error {
    DELTAMOE_ERROR_NONE = 0,
    DELTAMOE_ERROR_OPCODE = 1,
    DELTAMOE_ERROR_FIELD = 2,
    DELTAMOE_ERROR_RANGE = 3,
    DELTAMOE_ERROR_ADDRESS = 4,
    DELTAMOE_ERROR_BUS = 5,
    DELTAMOE_ERROR_DEADLOCK = 6,
    DELTAMOE_ERROR_LENGTH = 7,
    DELTAMOE_ERROR_WATCHDOG = 8,
};

/* X(code, text) for each error. */
#define DELTAMOE_ERRORS(X) \
    X(DELTAMOE_ERROR_OPCODE, "OPCODE: the descriptor's opcode is unknown") \
    X(DELTAMOE_ERROR_FIELD, "FIELD: a field of the descriptor is outside its maximum") \
    X(DELTAMOE_ERROR_RANGE, "RANGE: the descriptor reaches beyond the end of a memory on the chip") \
    X(DELTAMOE_ERROR_ADDRESS, "ADDRESS: an address is unaligned, or beyond the memory that the program may reach") \
    X(DELTAMOE_ERROR_BUS, "BUS: the memory answered with an error") \
    X(DELTAMOE_ERROR_DEADLOCK, "DEADLOCK: the descriptor and the loads wait for each other") \
    X(DELTAMOE_ERROR_LENGTH, "LENGTH: the program has no end, or too many descriptors") \
    X(DELTAMOE_ERROR_WATCHDOG, "WATCHDOG: nothing moved for too long: the memory does not answer")

#endif
