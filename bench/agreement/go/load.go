package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"golang.org/x/sys/unix"
)

// As in bench/agreement/load.py.
const (
	valueBytes  = 256
	inFlight    = 64
	waiterCount = 64
	watchers    = 1000
	warm        = 300 * time.Millisecond
	lookPause   = 10 * time.Millisecond
	longTTL     = 60
)

var value = strings.Repeat("x", valueBytes)

// A load of one kind, against one node.
type load struct {
	client  *clientv3.Client
	seconds time.Duration
	process int
}

// The kinds of load, each of which returns the seconds of one operation.
var kinds = map[string]func(load, context.Context) (float64, error){
	"get":     load.get,
	"put":     load.put,
	"lock":    load.lock,
	"waiters": load.waiters,
	"watch":   load.watch,
}

func printLoad(kind, address, seconds, process string) error {
	run, exists := kinds[kind]
	if !exists {
		return fmt.Errorf("there is no load of the kind %q", kind)
	}
	number, err := strconv.ParseFloat(seconds, 64)
	if err != nil {
		return err
	}
	id, err := strconv.Atoi(process)
	if err != nil {
		return err
	}
	endpoint := strings.TrimPrefix(address, "etcd://")
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 10 * time.Second})
	if err != nil {
		return err
	}
	defer client.Close()
	found, err := run(load{client, time.Duration(number * float64(time.Second)), id}, context.Background())
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]float64{"seconds": found})
}

func (l load) get(ctx context.Context) (float64, error) {
	if _, err := l.client.Put(ctx, "bench/get", value); err != nil {
		return 0, err
	}
	return l.together(inFlight, func(int) error {
		_, err := l.client.Get(ctx, "bench/get", clientv3.WithSerializable())
		return err
	})
}

func (l load) put(ctx context.Context) (float64, error) {
	return l.together(inFlight, func(number int) error {
		_, err := l.client.Put(ctx, fmt.Sprintf("bench/%d", number), value)
		return err
	})
}

// lock has one session, as its users do: a session is a lease.
func (l load) lock(ctx context.Context) (float64, error) {
	session, err := concurrency.NewSession(l.client)
	if err != nil {
		return 0, err
	}
	defer session.Close()
	return l.together(1, func(int) error {
		mutex := concurrency.NewMutex(session, "locks/bench")
		if err := mutex.Lock(ctx); err != nil {
			return err
		}
		return mutex.Unlock(ctx)
	})
}

// together returns the time by the number of operations of goroutines, each of which does one after the other.
func (l load) together(count int, operation func(number int) error) (float64, error) {
	var done atomic.Int64
	var isOver atomic.Bool
	var group sync.WaitGroup
	failed := make(chan error, count)
	for number := range count {
		group.Go(func() {
			for !isOver.Load() {
				if err := operation(number); err != nil {
					failed <- err
					return
				}
				done.Add(1)
			}
		})
	}
	time.Sleep(warm)
	first, started := done.Load(), time.Now()
	time.Sleep(l.seconds)
	found := time.Since(started).Seconds() / float64(done.Load()-first)
	isOver.Store(true)
	group.Wait()
	return found, firstOf(failed)
}

func (l load) waiters(ctx context.Context) (float64, error) {
	sessions := make([]*concurrency.Session, waiterCount+1)
	for number := range sessions {
		session, err := concurrency.NewSession(l.client, concurrency.WithTTL(longTTL))
		if err != nil {
			return 0, err
		}
		defer session.Close()
		sessions[number] = session
	}
	var found []float64
	for until := time.Now().Add(l.seconds); time.Now().Before(until); {
		seconds, err := l.handOver(ctx, sessions)
		if err != nil {
			return 0, err
		}
		found = append(found, seconds...)
	}
	slices.Sort(found)
	return found[len(found)/2], nil
}

// handOver lets all wait for a lock; it returns the seconds from each release to the next hold.
func (l load) handOver(ctx context.Context, sessions []*concurrency.Session) ([]float64, error) {
	first := concurrency.NewMutex(sessions[0], "locks/waiters")
	if err := first.Lock(ctx); err != nil {
		return nil, err
	}
	// Holds are one after the other; the mutex is for Go.
	var mutex sync.Mutex
	var released time.Time
	var found []float64
	var group sync.WaitGroup
	failed := make(chan error, waiterCount)
	for _, session := range sessions[1:] {
		group.Go(func() {
			held := concurrency.NewMutex(session, "locks/waiters")
			if err := held.Lock(ctx); err != nil {
				failed <- err
				return
			}
			mutex.Lock()
			found = append(found, time.Since(released).Seconds())
			released = time.Now()
			mutex.Unlock()
			if err := held.Unlock(ctx); err != nil {
				failed <- err
			}
		})
	}
	for {
		queue, err := l.client.Get(ctx, "locks/waiters/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			return nil, err
		}
		if err := firstOf(failed); err != nil {
			return nil, err
		}
		if queue.Count == waiterCount+1 {
			break
		}
		time.Sleep(lookPause)
	}
	mutex.Lock()
	released = time.Now()
	mutex.Unlock()
	if err := first.Unlock(ctx); err != nil {
		return nil, err
	}
	group.Wait()
	return found, firstOf(failed)
}

// watch returns the processor time of the node by the changes that it delivered.
func (l load) watch(ctx context.Context) (float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var missing sync.WaitGroup
	for range watchers {
		// It returns once the node watches.
		changes := l.client.Watch(ctx, "watched/", clientv3.WithPrefix())
		go func() {
			for response := range changes {
				for range response.Events {
					missing.Done()
				}
			}
		}()
	}
	change := func() error {
		missing.Add(watchers)
		if _, err := l.client.Put(ctx, "watched/key", value); err != nil {
			return err
		}
		missing.Wait()
		return nil
	}
	if err := change(); err != nil {
		return 0, err
	}
	first, err := processorTime(l.process)
	if err != nil {
		return 0, err
	}
	count := 0
	for until := time.Now().Add(l.seconds); time.Now().Before(until); count++ {
		if err := change(); err != nil {
			return 0, err
		}
	}
	last, err := processorTime(l.process)
	return (last - first).Seconds() / float64(count*watchers), err
}

// processorTime returns the processor time of a process, all threads; see clock_getcpuclockid(3), whose number 2 is
// the clock that counts to the nanosecond.
func processorTime(process int) (time.Duration, error) {
	var now unix.Timespec
	err := unix.ClockGettime(int32(^process<<3|2), &now)
	return time.Duration(now.Nano()), err
}

// firstOf returns the first error that a channel holds.
func firstOf(failed chan error) error {
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}
