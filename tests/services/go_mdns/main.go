// Browses and announces services of fastrpc by github.com/grandcat/zeroconf, over loopback.
//
//	go_mdns browse SERVICE             prints address, port and text of the first service of that name
//	go_mdns announce SERVICE RECORD    announces a record until its input ends
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"time"

	"github.com/grandcat/zeroconf"
)

const kind = "_fastrpc._tcp"

func main() {
	loopback, err := net.InterfaceByName("lo")
	if err != nil {
		log.Fatal(err)
	}
	interfaces := []net.Interface{*loopback}
	switch os.Args[1] {
	case "browse":
		browse(interfaces, "service="+os.Args[2])
	case "announce":
		announce(interfaces, os.Args[2], os.Args[3])
	}
}

func browse(interfaces []net.Interface, wanted string) {
	resolver, err := zeroconf.NewResolver(zeroconf.SelectIfaces(interfaces), zeroconf.SelectIPTraffic(zeroconf.IPv4))
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	entries := make(chan *zeroconf.ServiceEntry)
	if err := resolver.Browse(ctx, kind, "local.", entries); err != nil {
		log.Fatal(err)
	}
	for entry := range entries {
		for _, pair := range entry.Text {
			if pair == wanted {
				fmt.Println(entry.AddrIPv4, entry.Port, entry.Text)
				return
			}
		}
	}
	log.Fatal("not found")
}

func announce(interfaces []net.Interface, service, record string) {
	text := []string{"service=" + service, "record0=" + record}
	server, err := zeroconf.RegisterProxy("go-"+service, kind, "local.", 80, "go-peer", []string{"10.0.0.3"}, text, interfaces)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("announced")
	io.Copy(io.Discard, os.Stdin)
	server.Shutdown()
}
