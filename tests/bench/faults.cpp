// Plays scripts of commands against the verilated accelerator and a memory that fails on purpose.
//
// faults SCRIPT. A line is a command; a case ends at the first that fails, which prints
// "FAIL case line: reason". Numbers may be hexadecimal.
//
//   case NUMBER SEED        power up: reset, empty memory, everything calm
//   poke ADDRESS FILE       put the file into memory
//   compare ADDRESS FILE    memory must hold the file
//   write OFFSET VALUE [STROBES]
//   read OFFSET MASK VALUE...  the register's masked value must be one of these
//   counters [VALUE...]     all counters must be these; without values, print them
//   wait CYCLES
//   await CYCLES            the interrupt must come within these
//   quiet CYCLES            the interrupt must stay low for these
//   cleared                 the interrupt of the last start's end is there, if no clear came later
//   settled CYCLES          busy and draining must fall within these, with nothing left to answer
//   aresetn CYCLES          reset accelerator and memory
//   latency CYCLES          from an address to its first beat, from the last beat to its response
//   order N                 what a write's memory takes first; see Order
//   stall CHANNEL PART      pause at random, PART cycles of 256
//   silent CHANNEL COUNT CYCLES  after COUNT more transfers, nothing for CYCLES (0: for ever)
//   answer CHANNEL COUNT RESPONSE  the response of the transfer that follows COUNT others
//   flip COUNT              invert RLAST of the beat that follows COUNT others
//   calm                    no pauses, no silence, no faults from now on
//   # WORDS                 nothing
//
// Channels: ar r aw w b. In every cycle, whatever the script does, the rules of AXI and of the
// window in force are checked; see Monitor.

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "Vdeltamoe.h"
#include "verilated.h"

using std::string;
using std::vector;

constexpr uint64_t PAGE = 4096, FOREVER = UINT64_MAX, SPACE = 1ull << 40;
constexpr uint64_t EFFECT = 6;    // cycles within which a register write must have its effect
constexpr uint64_t PATIENCE = 64; // cycles within which the registers must answer
// What a memory takes first of a write. AXI lets it wait for data before it takes the address.
enum Order { ADDRESS_FIRST, ANY, ADDRESS_WITH_DATA, DATA_FIRST };
enum Channel { AR, R, AW, W, B, CHANNELS };
const char *const NAMES[] = {"ar", "r", "aw", "w", "b"};

static Vdeltamoe *top;
static uint64_t now;

[[noreturn]] static void fail(const string &reason) { throw std::runtime_error(reason); }
static void check(bool good, const string &reason) { if (!good) fail(reason); }

static string hex(uint64_t value) {
    char text[24];
    snprintf(text, sizeof text, "0x%llx", (unsigned long long)value);
    return text;
}

static uint64_t random_state;
static uint64_t random_number(uint64_t below) {
    random_state += 0x9e3779b97f4a7c15;
    uint64_t z = random_state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (z ^ (z >> 31)) % below;
}

struct Window {
    uint64_t first, end;
    bool holds(uint64_t address, uint64_t bytes) const {
        return address >= first && address + bytes <= end;
    }
};

// What a start allows, until a later start, an end or a reset.
struct Permit {
    Window program, data;
    uint64_t since, until;
};

// The rules. A transfer is judged by the window in force in the cycle that first offers it: what is
// offered must stay, so a transfer of an old program may be accepted late, but not begin late.
struct Monitor {
    struct Burst { uint64_t address, beats; };
    struct Offer { bool open = false; uint64_t payload[4]; } offers[CHANNELS], answers[2];
    std::deque<Burst> writes;      // offered addresses whose data are not complete
    uint64_t reading = 0, written = 0;
    vector<Permit> permits;
    bool interrupt = false;
    uint64_t rose = 0, fell = 0;   // first cycles in which the interrupt was high, low

    void start(uint64_t program, uint64_t length, uint64_t base, uint64_t size, bool replaces) {
        if (replaces) revoke(EFFECT);
        bool good = length && length < 1 << 16 && program % BUS_BYTES == 0 && base % BUS_BYTES == 0
            && program + 64 * length <= SPACE && base + size <= SPACE;
        if (good)
            permits.push_back({{program, program + 64 * length}, {base, base + size}, now, FOREVER});
    }
    void revoke(uint64_t cycles) {
        for (Permit &permit : permits)
            if (permit.until == FOREVER) permit.until = now + cycles;
    }
    // An end was seen: permits of starts that came before it end, those of later ones do not.
    void ended() {
        for (Permit &permit : permits)
            if (permit.until == FOREVER && permit.since + EFFECT < now) permit.until = now;
    }
    bool allowed(uint64_t address, uint64_t bytes, bool read) const {
        for (const Permit &permit : permits)
            if (now <= permit.until && (permit.data.holds(address, bytes)
                                        || (read && permit.program.holds(address, bytes))))
                return true;
        return false;
    }
    static bool held(Offer &offer, const string &name, bool valid, bool ready,
                     std::array<uint64_t, 4> payload) {
        bool first = valid && !offer.open;
        if (offer.open) {
            check(valid, name + "valid fell before it was taken");
            for (int n = 0; n < 4; n++)
                check(offer.payload[n] == payload[n], name + " changed before it was taken");
        }
        offer.open = valid && !ready;
        for (int n = 0; n < 4; n++) offer.payload[n] = payload[n];
        return first;
    }
    void reset() {
        check(!top->m_axi_arvalid && !top->m_axi_awvalid && !top->m_axi_wvalid
              && !top->s_axi_rvalid && !top->s_axi_bvalid, "a VALID is high in reset");
        *this = Monitor();
    }
    void cycle() {
        permits.erase(std::remove_if(permits.begin(), permits.end(), [](const Permit &permit) {
            return permit.until < now; }), permits.end());
        if (top->__SYM__interrupt != interrupt) (interrupt ? fell : rose) = now;
        if (top->__SYM__interrupt && !interrupt) ended();
        interrupt = top->__SYM__interrupt;
        held(answers[0], "s_axi_r", top->s_axi_rvalid, top->s_axi_rready,
             {top->s_axi_rdata, top->s_axi_rresp});
        held(answers[1], "s_axi_b", top->s_axi_bvalid, top->s_axi_bready, {top->s_axi_bresp});
        read();
        write();
    }
    // Judge an address; return whether this is the first cycle that offers it.
    bool begins(Channel channel, bool valid, bool ready, uint64_t address, uint64_t beats,
                int size, int kind) {
        const string name = NAMES[channel];
        if (!held(offers[channel], name, valid, ready, {address, beats, uint64_t(size),
                                                        uint64_t(kind)})) return false;
        check(address % BUS_BYTES == 0, name + "addr is not aligned: " + hex(address));
        check(address % PAGE + beats * BUS_BYTES <= PAGE,
              name + " burst crosses 4 KB: " + hex(address));
        check(beats <= BURST_BEATS && 1 << size == BUS_BYTES && kind == 1,
              name + " burst has a wrong length, size or kind");
        check(allowed(address, beats * BUS_BYTES, channel == AR),
              name + " outside of the window: " + hex(address) + ", " + hex(beats) + " beats");
        return true;
    }
    void read() {
        begins(AR, top->m_axi_arvalid, top->m_axi_arready, top->m_axi_araddr,
               top->m_axi_arlen + 1u, top->m_axi_arsize, top->m_axi_arburst);
        if (top->m_axi_arvalid && top->m_axi_arready)
            check(++reading <= OUTSTANDING, "too many read bursts in flight");
    }
    void write() {
        uint64_t address = top->m_axi_awaddr, beats = top->m_axi_awlen + 1u;
        if (begins(AW, top->m_axi_awvalid, top->m_axi_awready, address, beats,
                   top->m_axi_awsize, top->m_axi_awburst))
            writes.push_back({address, beats});
        bool first = held(offers[W], "w", top->m_axi_wvalid, top->m_axi_wready,
                          {top->m_axi_wdata, top->m_axi_wstrb, top->m_axi_wlast});
        if (!top->m_axi_wvalid) return;
        check(!writes.empty(), "data whose address has not been offered");
        const Burst &given = writes.front();
        check(top->m_axi_wlast == (written + 1 == given.beats), "wlast is wrong");
        uint64_t place = given.address + written * BUS_BYTES;
        check(!first || !top->m_axi_wstrb || allowed(place, BUS_BYTES, false),
              "data outside of the window: " + hex(place));
        if (top->m_axi_wready && ++written == given.beats) {
            writes.pop_front();
            written = 0;
        }
    }
};
static Monitor monitor;

// Memory of 2**40 bytes that answers in order, when and how the script says.
struct Memory {
    struct Burst { uint64_t address, beats, due; };
    std::unordered_map<uint64_t, std::array<uint8_t, PAGE>> pages;
    struct Word { uint64_t data; int strobes; bool last; };
    std::deque<Burst> reads, writes, answers;
    std::deque<Word> words;                           // taken before their address
    uint64_t latency, flip, order;
    uint64_t stall[CHANNELS], until[CHANNELS];        // part of 256; end of the silence
    uint64_t silent_at[CHANNELS], silence[CHANNELS];  // transfers until it begins, its length
    uint64_t fault_at[CHANNELS], response[CHANNELS];
    bool r_held = false, b_held = false;

    Memory() { calm(); latency = 8; }
    void calm() {
        flip = FOREVER;
        order = ADDRESS_FIRST;
        for (int n = 0; n < CHANNELS; n++) {
            stall[n] = until[n] = 0;
            silent_at[n] = fault_at[n] = FOREVER;
        }
    }
    void begin_silence(int channel) {
        silent_at[channel] = FOREVER;
        until[channel] = silence[channel] ? now + silence[channel] : FOREVER;
    }
    uint8_t &byte(uint64_t address) {
        address %= SPACE;
        auto found = pages.try_emplace(address / PAGE);
        if (found.second) found.first->second.fill(0xa5);
        return found.first->second[address % PAGE];
    }
    bool pauses(int channel) {
        bool random = random_number(256) < stall[channel];
        return random || now < until[channel];
    }
    void transfer(int channel) {
        if (silent_at[channel] != FOREVER && silent_at[channel]-- == 0) begin_silence(channel);
        if (fault_at[channel] != FOREVER) fault_at[channel]--;
        if (channel == R && flip != FOREVER) flip--;
    }
    int fault(int channel) { return fault_at[channel] == 0 ? response[channel] : 0; }

    void drive() {
        bool r = !reads.empty() && reads.front().due <= now;
        bool b = !answers.empty() && answers.front().due <= now;
        bool pause[CHANNELS];
        for (int n = 0; n < CHANNELS; n++) pause[n] = pauses(n);
        top->m_axi_arready = !pause[AR];
        bool whole = !words.empty() && words.back().last;
        top->m_axi_awready = !pause[AW] && (order < ADDRESS_WITH_DATA || whole || (
            order == ADDRESS_WITH_DATA && (!words.empty() || top->m_axi_wvalid)));
        top->m_axi_wready = !pause[W] && (order != ADDRESS_FIRST || !writes.empty());
        top->m_axi_rvalid = r && (r_held || !pause[R]);
        if (!r_held) {
            top->m_axi_rlast = r && (reads.front().beats == 1) != (flip == 0);
            top->m_axi_rresp = fault(R);
        }
        uint64_t data = 0;
        for (int n = 0; r && n < BUS_BYTES; n++)
            data |= uint64_t(byte(reads.front().address + n)) << 8 * n;
        top->m_axi_rdata = data;
        top->m_axi_bvalid = b && (b_held || !pause[B]);
        if (!b_held) top->m_axi_bresp = fault(B);
    }
    void cycle() {
        r_held = top->m_axi_rvalid && !top->m_axi_rready;
        b_held = top->m_axi_bvalid && !top->m_axi_bready;
        if (top->m_axi_rvalid && top->m_axi_rready) {
            transfer(R);
            reads.front().address += BUS_BYTES;
            if (--reads.front().beats == 0) {
                reads.pop_front();
                monitor.reading--;
            }
        }
        if (top->m_axi_bvalid && top->m_axi_bready) {
            transfer(B);
            answers.pop_front();
        }
        if (top->m_axi_wvalid && top->m_axi_wready) {
            transfer(W);
            words.push_back({top->m_axi_wdata, top->m_axi_wstrb, bool(top->m_axi_wlast)});
        }
        if (top->m_axi_arvalid && top->m_axi_arready) {
            transfer(AR);
            reads.push_back({top->m_axi_araddr, top->m_axi_arlen + 1u, now + latency});
        }
        if (top->m_axi_awvalid && top->m_axi_awready) {
            transfer(AW);
            writes.push_back({top->m_axi_awaddr, top->m_axi_awlen + 1u, 0});
        }
        for (; !writes.empty() && !words.empty(); words.pop_front()) {
            Burst &burst = writes.front();
            for (int n = 0; n < BUS_BYTES; n++)
                if (words.front().strobes >> n & 1)
                    byte(burst.address + n) = words.front().data >> 8 * n;
            burst.address += BUS_BYTES;
            if (--burst.beats == 0) {
                answers.push_back({0, 0, now + latency});
                writes.pop_front();
            }
        }
    }
    bool owes() const {
        return !reads.empty() || !writes.empty() || !words.empty() || !answers.empty();
    }
};
static Memory memory;

static void cycle() {
    memory.drive();
    top->aclk = 0;
    top->eval();
    bool running = top->aresetn;
    if (running) monitor.cycle();
    if (running) memory.cycle();
    top->aclk = 1;
    top->eval();
    now++;
}

// The processor: one register access after the other, its channels raised in random order.
struct Processor {
    std::unordered_map<uint64_t, uint64_t> values;
    bool certain = true; // nothing runs, or a reset has been written
    uint64_t started_at = 0, cleared_at = 0, clear_takes = 0;

    void write(uint64_t offset, uint64_t value, int strobes) {
        uint64_t data_at = now, address_at = now, patience = now + PATIENCE;
        if (random_number(2)) (random_number(2) ? data_at : address_at) += random_number(5);
        bool address_taken = false, data_taken = false, answered = false;
        uint64_t answer_at = now + random_number(6);
        top->s_axi_awaddr = offset;
        top->s_axi_wdata = value;
        top->s_axi_wstrb = strobes;
        while (!answered) {
            check(now < patience, "write to " + hex(offset) + " is not answered");
            top->s_axi_awvalid = !address_taken && now >= address_at;
            top->s_axi_wvalid = !data_taken && now >= data_at;
            top->s_axi_bready = now >= answer_at;
            memory.drive();
            top->aclk = 0;
            top->eval();
            bool before = address_taken && data_taken;
            check(before || !top->s_axi_bvalid, "write is answered before it was taken");
            address_taken |= top->s_axi_awvalid && top->s_axi_awready;
            data_taken |= top->s_axi_wvalid && top->s_axi_wready;
            answered = top->s_axi_bvalid && top->s_axi_bready;
            check(!answered || top->s_axi_bresp == 0, "write is not answered with OKAY");
            if (!before && address_taken && data_taken) effect(offset, value, strobes);
            finish();
        }
        top->s_axi_awvalid = top->s_axi_wvalid = top->s_axi_bready = 0;
    }
    // The second half of a cycle whose inputs are set.
    static void finish() {
        monitor.cycle();
        memory.cycle();
        top->aclk = 1;
        top->eval();
        now++;
    }
    void effect(uint64_t offset, uint64_t value, int strobes) {
        if (offset == REG_INTERRUPT_STATUS) {
            if (strobes & value & 1) cleared_at = now;
        } else if (offset != REG_CONTROL) {
            uint64_t mask = 0;
            for (int n = 0; n < 4; n++) mask |= (strobes >> n & 1) * 0xffull << 8 * n;
            values[offset] = (values[offset] & ~mask) | (value & mask);
        } else if (strobes & 1) {
            if (value & 2) {
                monitor.revoke(EFFECT);
                certain = true;
            }
            if ((value & 3) == 1) { // a reset wins over a start
                monitor.start(values[REG_PROGRAM_LOW] | values[REG_PROGRAM_HIGH] << 32,
                              values[REG_PROGRAM_LENGTH],
                              values[REG_MEMORY_LOW] | values[REG_MEMORY_HIGH] << 32,
                              values[REG_MEMORY_SIZE], certain);
                certain = false;
                started_at = now;
            }
        }
    }
    // An end since the last start was seen, and lost its interrupt only to a clear of a later cycle.
    void cleared() {
        check(monitor.rose > started_at, "an end raised no interrupt");
        if (monitor.interrupt) {
            check(clear_takes && cleared_at + clear_takes <= monitor.rose, "a clear had no effect");
        } else {
            if (!clear_takes) clear_takes = monitor.fell - cleared_at;
            check(monitor.fell == cleared_at + clear_takes, "the interrupt fell without a clear");
        }
    }
    uint64_t read(uint64_t offset) {
        uint64_t patience = now + PATIENCE, answer_at = now + random_number(6);
        top->s_axi_araddr = offset;
        for (bool taken = false;;) {
            check(now < patience, "read of " + hex(offset) + " is not answered");
            top->s_axi_arvalid = !taken;
            top->s_axi_rready = now >= answer_at;
            memory.drive();
            top->aclk = 0;
            top->eval();
            check(taken || !top->s_axi_rvalid, "read is answered before it was taken");
            taken |= top->s_axi_arvalid && top->s_axi_arready;
            bool answered = top->s_axi_rvalid && top->s_axi_rready;
            uint64_t value = top->s_axi_rdata;
            check(!answered || top->s_axi_rresp == 0, "read is not answered with OKAY");
            finish();
            if (!answered) continue;
            top->s_axi_arvalid = top->s_axi_rready = 0;
            return value;
        }
    }
    void settled(uint64_t cycles) {
        uint64_t until = now + cycles;
        while (read(REG_STATUS) & (STATUS_BUSY | STATUS_DRAINING))
            check(now < until, "still busy or draining");
        certain = true;
        monitor.ended();
        check(!memory.owes(), "settled, but the memory still owes answers");
    }
};
static Processor processor;

static vector<uint8_t> bytes(const string &path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) fail("no file " + path);
    return vector<uint8_t>(std::istreambuf_iterator<char>(file), {});
}

static void reset(uint64_t cycles) {
    top->s_axi_awvalid = top->s_axi_wvalid = top->s_axi_bready = 0;
    top->s_axi_arvalid = top->s_axi_rready = 0;
    top->aresetn = 0;
    memory.reads.clear();
    memory.writes.clear();
    memory.words.clear();
    memory.answers.clear();
    memory.r_held = memory.b_held = false;
    cycle();
    for (uint64_t n = 0; n < cycles; n++) {
        cycle();
        monitor.reset();
    }
    top->aresetn = 1;
    processor = Processor();
    cycle();
}

static void play(const string &command, std::istringstream &line) {
    auto number = [&line]() {
        string word;
        if (!(line >> word)) fail("a number is missing");
        return uint64_t(strtoull(word.c_str(), nullptr, 0));
    };
    auto rest = [&line]() {
        vector<uint64_t> values;
        for (string word; line >> word;) values.push_back(strtoull(word.c_str(), nullptr, 0));
        return values;
    };
    auto channel = [&line]() {
        string name;
        line >> name;
        for (int n = 0; n < CHANNELS; n++) if (name == NAMES[n]) return n;
        fail("no channel " + name);
    };
    if (command == "poke" || command == "compare") {
        uint64_t address = number();
        string path;
        line >> path;
        for (uint8_t value : bytes(path)) {
            uint8_t &place = memory.byte(address++);
            if (command == "poke") place = value;
            check(place == value, "memory differs at " + hex(address - 1) + ": "
                  + hex(place) + ", not " + hex(value));
        }
    } else if (command == "write") {
        uint64_t offset = number(), value = number();
        vector<uint64_t> strobes = rest();
        processor.write(offset, value, strobes.empty() ? 15 : strobes[0]);
    } else if (command == "read") {
        uint64_t offset = number(), mask = number(), value = processor.read(offset) & mask;
        bool found = false;
        for (uint64_t right : rest()) found |= value == right;
        check(found, "register " + hex(offset) + " is " + hex(value));
    } else if (command == "counters") {
        vector<uint64_t> right = rest();
        for (uint64_t n = 0; n < COUNTERS; n++) {
            uint64_t value = processor.read(REG_COUNTERS + 8 * n);
            value |= processor.read(REG_COUNTERS + 8 * n + 4) << 32;
            if (right.empty()) printf("%llu ", (unsigned long long)value);
            else check(right.at(n) == value, "counter " + hex(n) + " is " + std::to_string(value));
        }
        if (right.empty()) printf("\n");
    } else if (command == "wait") {
        for (uint64_t left = number(); left; left--) cycle();
    } else if (command == "await") {
        uint64_t left = number();
        while (!top->__SYM__interrupt) {
            check(left--, "no interrupt");
            cycle();
        }
        processor.certain = true;
    } else if (command == "quiet") {
        for (uint64_t left = number(); left; left--) {
            cycle();
            check(!top->__SYM__interrupt, "an interrupt came");
        }
    } else if (command == "cleared") {
        processor.cleared();
    } else if (command == "settled") {
        processor.settled(number());
    } else if (command == "aresetn") {
        reset(number());
    } else if (command == "latency") {
        memory.latency = number();
    } else if (command == "order") {
        memory.order = number();
    } else if (command == "stall") {
        int which = channel();
        memory.stall[which] = number();
    } else if (command == "silent") {
        int which = channel();
        uint64_t count = number();
        memory.silence[which] = number();
        if (count) memory.silent_at[which] = count - 1;
        else memory.begin_silence(which);
    } else if (command == "answer") {
        int which = channel();
        memory.fault_at[which] = number();
        memory.response[which] = number();
    } else if (command == "flip") {
        memory.flip = number();
    } else if (command == "calm") {
        memory.calm();
    } else {
        fail("no command " + command);
    }
}

int main(int argc, char **argv) {
    Verilated::commandArgs(argc, argv);
    if (argc < 2) return 2;
    top = new Vdeltamoe;
    std::ifstream script(argv[1]);
    string text, number;
    bool broken = false;
    for (int place = 1; std::getline(script, text); place++) {
        std::istringstream line(text);
        string command;
        if (!(line >> command) || command == "#") continue;
        try {
            if (command == "case") {
                line >> number >> random_state;
                broken = false;
                memory = Memory();
                reset(4);
            } else if (!broken) {
                play(command, line);
            }
        } catch (const std::runtime_error &error) {
            printf("FAIL %s %d: %s (cycle %llu)\n", number.c_str(), place, error.what(),
                   (unsigned long long)now);
            broken = true;
        }
    }
    printf("END %llu\n", (unsigned long long)now);
    top->final();
    delete top;
    return 0;
}
