// Judges histories of stores and locks by Porcupine: `judge FILE…` prints a line for each file, its name and `ok`,
// `illegal` or `unknown` (it took longer than a minute).
package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

// A file: `model` is `store` or `lock`.
type history struct {
	Model string `json:"model"`
	// Whether the revision of a store rises by one with each change.
	IsExact bool `json:"is_exact"`
	// That of a store at the beginning.
	Revision   int64       `json:"revision"`
	Operations []operation `json:"operations"`
}

// An operation of a client between two instants, the second of which is 0 if it has not returned.
type operation struct {
	Client int    `json:"client"`
	Call   int64  `json:"call"`
	Return int64  `json:"return"`
	Kind   string `json:"kind"`
	// `done`, `refused` or `unknown`.
	Outcome string `json:"outcome"`

	// Of a store: what is read, compared and done, and what came back. A revision of 0 was not told.
	Read     []int     `json:"read"`
	When     []compare `json:"when"`
	Do       []change  `json:"do"`
	Items    []item    `json:"items"`
	Revision int64     `json:"revision"`
	Deleted  *bool     `json:"deleted"`

	// Of a lock.
	Token int64 `json:"token"`
}

type compare struct {
	Key      int   `json:"key"`
	Revision int64 `json:"revision"`
}

// A value of 0 deletes.
type change struct {
	Key   int `json:"key"`
	Value int `json:"value"`
}

// A value of 0: it is absent. A revision of -1: the outcome of its write is unknown, and no read has told it.
type item struct {
	Value    int   `json:"value"`
	Revision int64 `json:"revision"`
	Created  int64 `json:"created"`
}

const keys = 4

type store struct {
	// Of the latest change whose revision is known.
	revision int64
	items    [keys]item
}

// Takes a present item that a client was told; false if it is another one.
func (s *store) tell(key int, told item) bool {
	found := s.items[key]
	if found.Value != told.Value || (found.Revision >= 0 && found.Revision != told.Revision) ||
		(found.Created >= 0 && found.Created != told.Created) {
		return false
	}
	s.items[key] = told
	s.revision = max(s.revision, told.Revision)
	return true
}

func (s *store) holds(when []compare) bool {
	for _, one := range when {
		if s.items[one.Key].Revision != one.Revision {
			return false
		}
	}
	return true
}

func (s *store) apply(do []change, revision int64) {
	for _, one := range do {
		created := s.items[one.Key].Created
		if s.items[one.Key].Value == 0 {
			created = revision
		}
		s.items[one.Key] = item{one.Value, revision, created}
		if one.Value == 0 {
			s.items[one.Key] = item{}
		}
	}
}

func (s *store) changes(do []change) bool {
	for _, one := range do {
		if one.Value != 0 || s.items[one.Key].Value != 0 {
			return true
		}
	}
	return false
}

// Returns whether an operation may have had its outcome in a state, and the state after it.
func step(state store, one operation, isExact bool) (bool, store) {
	next := state
	if one.Outcome == "refused" {
		for at, told := range one.Items {
			if !next.tell(one.When[at].Key, told) {
				return false, state
			}
		}
		return !next.holds(one.When), next
	}
	for at, key := range one.Read {
		if !next.tell(key, one.Items[at]) {
			return false, state
		}
	}
	if !next.holds(one.When) {
		return one.Outcome == "unknown", next
	}
	if one.Deleted != nil && *one.Deleted != (next.items[one.Do[0].Key].Value != 0) {
		return false, state
	}
	if !next.changes(one.Do) {
		return true, next
	}
	revision := int64(-1)
	if isExact {
		revision = next.revision + 1
		if one.Revision != 0 && one.Revision != revision {
			return false, state
		}
	} else if one.Revision != 0 {
		revision = one.Revision
		if revision <= next.revision {
			return false, state
		}
	}
	next.apply(one.Do, revision)
	next.revision = max(next.revision, revision)
	return true, next
}

// A lock: the latest token, and the one that holds; 0 for none. A holder whose lease ends is not told of.
type lock struct {
	latest int64
	holder int64
}

func stepLock(state lock, one operation) (bool, lock) {
	switch one.Kind {
	case "hold":
		return one.Token > state.latest, lock{one.Token, one.Token}
	case "release":
		if state.holder == one.Token {
			state.holder = 0
		}
		return true, state
	default:
		// A write that its token let through, or a look at a lock that is held.
		return state.holder == one.Token, state
	}
}

func judge(found history) porcupine.CheckResult {
	var operations []porcupine.Operation
	for _, one := range found.Operations {
		returned := one.Return
		if returned == 0 {
			returned = math.MaxInt64
		}
		operations = append(operations, porcupine.Operation{
			ClientId: one.Client, Input: one, Call: one.Call, Return: returned,
		})
	}
	model := porcupine.Model{
		Init: func() interface{} { return store{revision: found.Revision} },
		Step: func(state, input, _ interface{}) (bool, interface{}) {
			return step(state.(store), input.(operation), found.IsExact)
		},
	}
	if found.Model == "lock" {
		model = porcupine.Model{
			Init: func() interface{} { return lock{} },
			Step: func(state, input, _ interface{}) (bool, interface{}) {
				return stepLock(state.(lock), input.(operation))
			},
		}
	}
	return porcupine.CheckOperationsTimeout(model, operations, time.Minute)
}

func main() {
	for _, name := range os.Args[1:] {
		content, err := os.ReadFile(name)
		var found history
		if err == nil {
			err = json.Unmarshal(content, &found)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		// Its words are Ok, Illegal and Unknown.
		fmt.Println(name, judge(found))
	}
}
