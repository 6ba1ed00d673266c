package load

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// schedulerClock is the kind of processor clock that counts to the nanosecond, see include/linux/posix-timers.h.
const schedulerClock = 2

func ownProcessorTime() (time.Duration, error) {
	return readClock(unix.CLOCK_PROCESS_CPUTIME_ID)
}

// processorTime returns the processor time of another process, all threads; clock_getcpuclockid(3) without C.
func processorTime(process int) (time.Duration, error) {
	elapsed, err := readClock(int32(^process<<3 | schedulerClock))
	if err != nil {
		err = fmt.Errorf("process %d has no CPU clock: %w", process, err)
	}
	return elapsed, err
}

func readClock(clock int32) (time.Duration, error) {
	var now unix.Timespec
	err := unix.ClockGettime(clock, &now)
	return time.Duration(now.Nano()), err
}
