// Signals that a run gets for what it computes, such as SIGFPE for a division that has no
// result. They end that run instead of the process: its thread never goes on.
#ifndef DISTINFER_FAULT_H
#define DISTINFER_FAULT_H

// fault_watch has the signals of this process handled so. Those that no run got go to who
// handled them before. Without effect but on Linux.
void fault_watch(void);

// fault_begin says that this thread begins a run, and writes the number of a signal that
// it gets to the file descriptor done. fault_end says that the run is over.
void fault_begin(int done);
void fault_end(void);

// fault_alone says that the run of this thread has no part in what intra-op threads compute.
void fault_alone(void);

// fault_damage is the signal after which the memory of the process cannot be trusted, or
// too many threads are lost; 0 when there was none.
int fault_damage(void);

#endif
