package load

import (
	"fmt"
	"sync"
	"syscall"
	"time"
)

// mostUnansweredSeconds is as in bench/compare/open_loop.py.
const mostUnansweredSeconds = 1.0

// lastAnswers is how long the last answers may take: a peer that drops one ends the run with an error.
const lastAnswers = 15 * time.Second

// driveAtRate is bench/compare/open_loop.py, with a goroutine for each call. Between calls it sleeps in a system call: Go's
// timers are as coarse as a millisecond, and a goroutine that looks at the clock all the time would keep Go from looking
// at its sockets.
func driveAtRate(order Order, operation Operation) (Measurement, error) {
	generator := &generator{order: order, operation: operation, failed: make(chan error, 1)}
	schedule := &schedule{generator: generator, began: time.Now()}
	if err := schedule.runFor(order.WarmSeconds); err != nil {
		return Measurement{}, err
	}
	schedule.windowBegan = time.Now()
	first, err := generator.read()
	if err != nil {
		return Measurement{}, err
	}
	if err := schedule.runFor(order.Seconds); err != nil {
		return Measurement{}, err
	}
	last, err := generator.read()
	if err != nil {
		return Measurement{}, err
	}
	answered := make(chan struct{})
	go func() {
		schedule.calls.Wait()
		close(answered)
	}()
	select {
	case <-answered:
	case <-time.After(lastAnswers):
		unanswered := schedule.started - schedule.completed.Load()
		return Measurement{}, fmt.Errorf("%d calls are not answered after %s", unanswered, lastAnswers)
	}
	select {
	case err := <-generator.failed:
		return Measurement{}, err
	default:
		return measured(first, last, generator.takeLatencies()), nil
	}
}

// schedule knows when each call is due.
type schedule struct {
	*generator
	began       time.Time
	windowBegan time.Time
	started     int64
	calls       sync.WaitGroup
}

// runFor starts the calls that become due within so many seconds.
func (schedule *schedule) runFor(seconds float64) error {
	until := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	for {
		now := time.Now()
		if now.After(until) {
			// What became due before the end starts, however late the generator is.
			now = until
		}
		for due := schedule.due(); !due.After(now); due = schedule.due() {
			schedule.started++
			isTimed := !schedule.windowBegan.IsZero() && !due.Before(schedule.windowBegan)
			schedule.calls.Go(func() { schedule.call(due, isTimed) })
		}
		unanswered := schedule.started - schedule.completed.Load()
		if float64(unanswered) > mostUnansweredSeconds*float64(schedule.order.Rate) {
			return fmt.Errorf("%d calls are unanswered at %d calls/s", unanswered, schedule.order.Rate)
		}
		select {
		case err := <-schedule.failed:
			return err
		default:
		}
		if now.Equal(until) {
			return nil
		}
		left := syscall.NsecToTimespec(max(0, int64(time.Until(schedule.due()))))
		// A signal ends it early, and the next turn goes on.
		_ = syscall.Nanosleep(&left, nil)
	}
}

// due returns when the next call is to start.
func (schedule *schedule) due() time.Time {
	seconds := float64(schedule.started) / float64(schedule.order.Rate)
	return schedule.began.Add(time.Duration(seconds * float64(time.Second)))
}

func (schedule *schedule) call(due time.Time, isTimed bool) {
	if err := schedule.operation.run(); err != nil {
		select {
		case schedule.failed <- err:
		default:
		}
		return
	}
	schedule.completed.Add(1)
	if isTimed {
		schedule.sample(time.Since(due))
	}
}
