// Runs the SoC with SDRAM, whose times are arguments: +T_RP=1 and so on. Commands on standard input are a letter and numbers of 64 bits:
//   B n, n bytes   let the UART take them, one after the other
//   G n            answer with the next n bytes that the UART sends; end if none comes for SILENCE cycles
//   T n            let n cycles pass; answer with the cycle it is
//   P              answer with the bursts on the accelerator's port to memory since power-up: how many reads and how many
//                  writes, and of each its beats and the cycles of its address, first and last beat and, of a write, answer
// Time stands still in between.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <vector>

#include "Vbench.h"
#include "verilated.h"

static const uint64_t SILENCE = 10'000'000;

struct Burst {
    uint64_t beats, address, first, last, answer;
};

// Bursts of one direction, in their order; beats of a write may come before its address.
struct Direction {
    std::vector<Burst> bursts;
    size_t addressed = 0, transferred = 0, answered = 0;
    Burst &at(size_t index) {
        if (index == bursts.size()) bursts.push_back({});
        return bursts[index];
    }
    void cycle(uint64_t now, bool address, bool beat, bool last, bool answer) {
        if (address) at(addressed++).address = now;
        if (beat) {
            Burst &burst = at(transferred);
            if (!burst.beats++) burst.first = now;
            burst.last = now;
            transferred += last;
        }
        if (answer) at(answered++).answer = now;
    }
};

static Vbench *top;
static uint64_t now = 0;
static std::deque<uint8_t> taken;
static Direction reads, writes;

// One cycle; tells whether the UART took the byte that was sent.
static bool cycle(int byte = -1) {
    top->sent_valid = byte >= 0;
    top->sent = byte >= 0 ? byte : 0;
    top->clk = 0;
    top->eval();
    if (top->broken) exit(1);
    bool accepted = byte >= 0 && top->sent_ready;
    if (top->taken_valid) taken.push_back(top->taken);
    reads.cycle(now, top->ar, top->r, top->r_last, false);
    writes.cycle(now, top->aw, top->w, top->w_last, top->b);
    top->clk = 1;
    top->eval();
    now++;
    return accepted;
}

static uint64_t number() {
    uint64_t value;
    if (fread(&value, sizeof value, 1, stdin) != 1) exit(0);
    return value;
}

static void answer(const void *bytes, size_t count) {
    fwrite(bytes, 1, count, stdout);
    fflush(stdout);
}

int main(int argc, char **argv) {
    VerilatedContext context;
    context.commandArgs(argc, argv);
    context.randReset(0);
    top = new Vbench{&context};
    top->taken_ready = 1;
    top->rst = 1;
    for (int n = 0; n < 10; n++) cycle();
    top->rst = 0;
    for (int command; (command = getchar()) != EOF;) {
        if (command == 'B')
            for (uint64_t left = number(); left; left--) {
                int byte = getchar();
                while (!cycle(byte)) {}
            }
        if (command == 'G') {
            uint64_t count = number(), until = now + SILENCE;
            size_t before = taken.size();
            while (taken.size() < count) {
                cycle();
                if (taken.size() != before) until = now + SILENCE;
                if (now > until) {
                    fprintf(stderr, "the SoC sends nothing\n");
                    return 1;
                }
                before = taken.size();
            }
            std::vector<uint8_t> found(taken.begin(), taken.begin() + count);
            taken.erase(taken.begin(), taken.begin() + count);
            answer(found.data(), count);
        }
        if (command == 'T') {
            for (uint64_t left = number(); left; left--) cycle();
            answer(&now, sizeof now);
        }
        if (command == 'P') {
            uint64_t counts[] = {reads.bursts.size(), writes.bursts.size()};
            answer(counts, sizeof counts);
            for (Direction *each : {&reads, &writes}) answer(each->bursts.data(), each->bursts.size() * sizeof(Burst));
        }
    }
}
