// A client of Deimos: its requests against the address given, one line of output for each.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	deimos "github.com/marsevilspirit/deimos-client"
)

func told(what string, found *deimos.Response, err error) {
	switch {
	case err != nil:
		fmt.Println(what, "error", err)
	case len(found.Node.Nodes) > 0:
		fmt.Println(what, found.Action, found.Node.Key, len(found.Node.Nodes))
	default:
		fmt.Println(what, found.Action, found.Node.Key, found.Node.Value, found.Node.Dir)
	}
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	client := deimos.NewClient([]string{os.Args[1]})
	watch := client.Watch(ctx, "/shop", deimos.WithRecursive(), deimos.WithWaitIndex(1))

	found, err := client.Set(ctx, "/shop/a", "1")
	told("set", found, err)
	found, err = client.Set(ctx, "/shop/a", "2", deimos.WithPrevExist())
	told("update", found, err)
	found, err = client.Set(ctx, "/shop/none", "2", deimos.WithPrevExist())
	told("update", found, err)
	found, err = client.Get(ctx, "/shop/a")
	told("get", found, err)
	found, err = client.Set(ctx, "/shop/d", "", deimos.WithDir())
	told("directory", found, err)
	found, err = client.Get(ctx, "/shop", deimos.WithRecursive())
	told("recursive", found, err)
	found, err = client.Set(ctx, "/shop/t", "3", deimos.WithTTL(time.Second))
	told("time", found, err)
	found, err = client.Delete(ctx, "/shop/a")
	told("delete", found, err)
	found, err = client.Delete(ctx, "/shop/d", deimos.WithDir())
	told("delete", found, err)
	for range 6 {
		event := <-watch
		if event == nil {
			break
		}
		told("event", event, nil)
	}
	for {
		_, err = client.Get(ctx, "/shop/t")
		if err != nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	told("get", nil, err)
	event := <-watch
	told("event", event, nil)
	found, err = client.Delete(ctx, "/shop", deimos.WithRecursive())
	told("delete", found, err)
}
