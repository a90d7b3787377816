// Runs one program on the verilated accelerator with a memory of fixed latency, or serves its registers and memory.
//
// A read burst accepted in cycle t has its first beat valid in cycle t + latency, or interval cycles
// after the last beat of the burst before it, whichever is later; then one beat every interval
// cycles. Write beats are accepted every interval cycles, addresses always. A write's response is
// valid latency cycles after its last beat. With a stall seed every channel pauses at random, one cycle in three.
// All of that holds for each memory port alone; each may read and write nothing but its own blocks.
//
// harness IN OUT PROGRAM LENGTH SIZE LATENCY STALL_SEED MAX_CYCLES COUNTERS INTERVAL WATCHDOG FAIL_ADDRESS
//         POWER_UP_SEED [SPANS]
// prints: ended (0: not within MAX_CYCLES) status error_code error_index cycles counters...
// POWER_UP_SEED: draws what has no initial value; 0 makes it zero.
// SPANS: a line for each span of work: unit, its number or nothing, descriptor (-1: the program's first piece), first
// cycle, cycle behind the last; cycle 0 is the first one that is busy.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <iterator>
#include <vector>

#include "Vdeltamoe.h"
#include "Vdeltamoe___024root.h"
#include "probes.h"
#include "verilated.h"

struct Burst {
    uint64_t address;
    uint32_t beats;
    uint64_t ready;
};

static Vdeltamoe *top;
static std::vector<uint8_t> memory;
static uint64_t now = 0, latency, interval, fail_address, stall_state;
static bool stalling, silent = false;

static bool pause_now() {
    if (!stalling) return false;
    stall_state ^= stall_state << 13;
    stall_state ^= stall_state >> 7;
    stall_state ^= stall_state << 17;
    return stall_state % 3 == 0;
}

static bool fails(uint64_t address) {
    return address + PORT_BYTES > memory.size()
        || (fail_address >= address && fail_address < address + PORT_BYTES);
}

// A memory port of the accelerator, and what memory owes it.
struct Port {
    CData &arvalid, &arready, &arlen;
    QData &araddr;
    CData &rvalid, &rready, &rlast, &rresp;
    void *rdata;
    CData &awvalid, &awready, &awlen;
    QData &awaddr;
    CData &wvalid, &wready, &wlast;
    const void *wdata;
    CData &bvalid, &bready, &bresp;
    unsigned number;
    std::deque<Burst> reads, writes, answers;
    uint64_t last_beat, next_write;
    bool r_held, b_held;

    Burst begun(const char *kind, uint64_t address, unsigned length, uint64_t ready) const {
        uint64_t end = address + (length + 1) * PORT_BYTES - 1;
        if (address / 4096 != end / 4096) {
            fprintf(stderr, "%s burst crosses 4 KB\n", kind);
            exit(3);
        }
        if (PORT_COUNT > 1 && (address / BLOCK_BYTES != end / BLOCK_BYTES
                               || address / BLOCK_BYTES % PORT_COUNT != number)) {
            fprintf(stderr, "%s burst of port %u beyond its blocks\n", kind, number);
            exit(3);
        }
        return {address, length + 1, ready};
    }

    // Before the clock rises: what memory offers.
    void drive() {
        static const uint8_t nothing[PORT_BYTES] = {0};
        bool r_due = !reads.empty() && reads.front().ready <= now && (r_held || !silent);
        uint64_t r_address = r_due ? reads.front().address : 0;
        bool r_bad = r_due && fails(r_address);
        rvalid = r_due && (r_held || !pause_now());
        rlast = r_due && reads.front().beats == 1;
        rresp = r_bad ? 2 : 0;
        memcpy(rdata, r_due && !r_bad ? &memory[r_address] : nothing, PORT_BYTES);
        bvalid = !answers.empty() && answers.front().ready <= now && (b_held || !(silent || pause_now()));
        bresp = bvalid && answers.front().beats ? 2 : 0;
        arready = !pause_now();
        awready = !pause_now();
        wready = !writes.empty() && now >= next_write && !pause_now();
    }

    // As the clock rises: what is transferred, of which nothing is seen before.
    void move() {
        bool r = rvalid && rready, b = bvalid && bready;
        if (wvalid && wready) {
            Burst &burst = writes.front();
            if (fails(burst.address)) burst.ready = 1;
            else memcpy(&memory[burst.address], wdata, PORT_BYTES);
            burst.address += PORT_BYTES;
            next_write = now + interval;
            if (--burst.beats == 0) {
                if (!wlast) { fprintf(stderr, "wlast missing\n"); exit(3); }
                answers.push_back({0, uint32_t(burst.ready), now + latency});
                writes.pop_front();
            }
        }
        if (b) answers.pop_front();
        r_held = rvalid && !r;
        b_held = bvalid && !b;
        if (r) {
            Burst &burst = reads.front();
            burst.address += PORT_BYTES;
            uint64_t next = now + interval;
            burst.ready = next;
            if (--burst.beats == 0) {
                reads.pop_front();
                if (!reads.empty() && reads.front().ready < next) reads.front().ready = next;
                last_beat = next;
            }
        }
        if (arvalid && arready) {
            Burst burst = begun("read", araddr, arlen, now + latency);
            if (reads.empty() && burst.ready < last_beat) burst.ready = last_beat;
            reads.push_back(burst);
        }
        if (awvalid && awready) writes.push_back(begun("write", awaddr, awlen, 0));
    }
};

static std::vector<Port> ports;
#define PORT(NAME, NUMBER) Port{ \
    top->NAME##_arvalid, top->NAME##_arready, top->NAME##_arlen, top->NAME##_araddr, \
    top->NAME##_rvalid, top->NAME##_rready, top->NAME##_rlast, top->NAME##_rresp, &top->NAME##_rdata, \
    top->NAME##_awvalid, top->NAME##_awready, top->NAME##_awlen, top->NAME##_awaddr, \
    top->NAME##_wvalid, top->NAME##_wready, top->NAME##_wlast, &top->NAME##_wdata, \
    top->NAME##_bvalid, top->NAME##_bready, top->NAME##_bresp, NUMBER, {}, {}, {}, 0, 0, false, false}

static FILE *spans;

// A unit that works on one thing after the other.
struct Unit {
    int64_t begun = -1;
    void work(const char *name, int number, bool working, bool ends, int descriptor, int64_t cycle) {
        if (working && begun < 0) begun = cycle;
        if (!working || !ends) return;
        fprintf(spans, number < 0 ? "%s," : "%s,%d", name, number);
        fprintf(spans, ",%d,%lld,%lld\n", descriptor, (long long)begun, (long long)cycle + 1);
        begun = -1;
    }
};

// What every unit does in this cycle. An operator begins to leave where the one before has left.
static void observe() {
    struct Group { bool accept, event, taken, last; } groups[] = PROBES;
    constexpr int count = sizeof groups / sizeof *groups;
    static Unit load, compute, drain, group[count];
    static std::deque<int> items[count];
    static int64_t cycle = 0;
    if (!spans || !PROBE_busy) return;
    load.work("load", -1, PROBE_load, PROBE_loaded, PROBE_load_program ? -1 : PROBE_load_position,
              cycle);
    compute.work("compute", -1, true, PROBE_left, PROBE_drain_position, cycle);
    drain.work("drain", -1, PROBE_drain, PROBE_drained, PROBE_drain_position, cycle);
    for (int n = 0; n < count; n++) {
        bool popped = groups[n].event && groups[n].taken;
        if (groups[n].accept) items[n].push_back(PROBE_issue_position);
        int item = items[n].empty() ? -1 : items[n].front();
        group[n].work("group", n, popped, groups[n].last, item, cycle);
        if (popped && groups[n].last) items[n].pop_front();
    }
    cycle++;
}

// One cycle: inputs settle, handshakes are seen, the clock rises.
static void cycle() {
    for (Port &port : ports) port.drive();
    top->aclk = 0;
    top->eval();
    observe();
    for (Port &port : ports) port.move();
    top->aclk = 1;
    top->eval();
    now++;
}

static void write_register(uint32_t offset, uint32_t value) {
    top->s_axi_awaddr = offset;
    top->s_axi_wdata = value;
    top->s_axi_wstrb = 15;
    top->s_axi_awvalid = top->s_axi_wvalid = top->s_axi_bready = 1;
    for (bool taken = false; !taken;) {
        top->aclk = 0;
        top->eval();
        taken = top->s_axi_awready;
        cycle();
    }
    top->s_axi_awvalid = top->s_axi_wvalid = 0;
    while (!top->s_axi_bvalid) cycle();
    cycle();
}

static uint32_t read_register(uint32_t offset) {
    top->s_axi_araddr = offset;
    top->s_axi_arvalid = 1;
    cycle();
    top->s_axi_arvalid = 0;
    while (!top->s_axi_rvalid) cycle();
    uint32_t value = top->s_axi_rdata;
    top->s_axi_rready = 1;
    cycle();
    top->s_axi_rready = 0;
    return value;
}

static void stall(const char *seed) {
    stall_state = strtoull(seed, nullptr, 0);
    stalling = stall_state != 0;
}

static void power_up(int seed) {
    Verilated::randReset(seed ? 2 : 0);
    Verilated::randSeed(seed);
    top = new Vdeltamoe;
    for (const Port &port : {PORTS}) ports.push_back(port);
    top->aclk = top->aresetn = 0;
    top->s_axi_awvalid = top->s_axi_wvalid = top->s_axi_bready = 0;
    top->s_axi_arvalid = top->s_axi_rready = 0;
    for (int n = 0; n < 4; n++) cycle();
    top->aresetn = 1;
    cycle();
}

static void take(void *bytes, size_t size) {
    if (fread(bytes, 1, size, stdin) != size) {
        fprintf(stderr, "a command is cut short\n");
        exit(3);
    }
}

static uint64_t number() {
    uint8_t bytes[8];
    take(bytes, sizeof bytes);
    uint64_t value = 0;
    for (int n = 7; n >= 0; n--) value = value << 8 | bytes[n];
    return value;
}

static void answer(uint64_t value, int size) {
    for (int n = 0; n < size; n++) putchar(value >> 8 * n & 255);
}

// Where in memory a command reads or writes, and how much.
static uint8_t *place(size_t &length) {
    uint64_t address = number();
    length = number();
    if (address > memory.size() || length > memory.size() - address) {
        fprintf(stderr, "a command goes beyond the memory\n");
        exit(3);
    }
    return memory.data() + address;
}

static int serve(char **argv) {
    memory.resize(strtoull(argv[2], nullptr, 0));
    latency = strtoull(argv[3], nullptr, 0);
    interval = strtoull(argv[4], nullptr, 0);
    stall(argv[5]);
    fail_address = UINT64_MAX;
    power_up(atoi(argv[6]));
    for (int letter; (letter = getchar()) != EOF; fflush(stdout)) {
        size_t length;
        if (letter == 'R') answer(read_register(number()), 4);
        else if (letter == 'W') {
            uint32_t offset = number();
            write_register(offset, number());
        } else if (letter == 'G') {
            uint8_t *bytes = place(length);
            fwrite(bytes, 1, length, stdout);
        } else if (letter == 'P') {
            uint8_t *bytes = place(length);
            take(bytes, length);
        } else if (letter == 'T') {
            for (uint64_t cycles = number(); cycles; cycles--) cycle();
            answer(now, 8);
        } else if (letter == 'S') silent = number();
        else if (letter == 'F') fail_address = number();
        else {
            fprintf(stderr, "no command begins with byte %d\n", letter);
            return 3;
        }
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 7 && !strcmp(argv[1], "serve")) return serve(argv);
    if (argc < 14) return 2;
    std::ifstream in(argv[1], std::ios::binary);
    memory.assign(std::istreambuf_iterator<char>(in), {});
    latency = strtoull(argv[6], nullptr, 0);
    stall(argv[7]);
    uint64_t most = strtoull(argv[8], nullptr, 0);
    int counters = atoi(argv[9]);
    interval = strtoull(argv[10], nullptr, 0);
    fail_address = strtoull(argv[12], nullptr, 0);
    if (argc > 14) spans = fopen(argv[14], "w");

    power_up(atoi(argv[13]));
    write_register(REG_PROGRAM_LOW, strtoul(argv[3], nullptr, 0));
    write_register(REG_PROGRAM_LENGTH, strtoul(argv[4], nullptr, 0));
    write_register(REG_MEMORY_SIZE, strtoul(argv[5], nullptr, 0));
    write_register(REG_WATCHDOG, strtoul(argv[11], nullptr, 0));
    write_register(REG_INTERRUPT_ENABLE, 1);
    write_register(REG_CONTROL, 1);
    uint64_t start = now;
    while (!top->__SYM__interrupt && now - start < most) cycle();
    bool ended = top->__SYM__interrupt;
    uint64_t used = now - start;
    uint32_t status = read_register(REG_STATUS), code = read_register(REG_ERROR_CODE);
    printf("%d %u %u %u %llu", ended, status, code, read_register(REG_ERROR_INDEX),
           (unsigned long long)used);
    for (int n = 0; n < counters; n++) {
        uint64_t low = read_register(REG_COUNTERS + 8 * n);
        uint64_t high = read_register(REG_COUNTERS + 8 * n + 4);
        printf(" %llu", (unsigned long long)(low | high << 32));
    }
    printf("\n");
    std::ofstream out(argv[2], std::ios::binary);
    out.write(reinterpret_cast<const char *>(memory.data()), memory.size());
    if (spans) fclose(spans);
    top->final();
    delete top;
    return 0;
}
