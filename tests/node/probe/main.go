// Probe is what the tests run in Pods: a small web server, and the same questions as commands for kubectl exec.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("usage: probe serve|get URL|resolve NAME|read FILE|write FILE|id"))
	}
	switch os.Args[1] {
	case "serve":
		serve()
	case "get":
		get(os.Args[2])
	case "resolve":
		addresses, err := net.LookupHost(os.Args[2])
		fail(err)
		fmt.Println(addresses)
	case "read":
		data, err := os.ReadFile(os.Args[2])
		fail(err)
		fmt.Print(string(data))
	case "write":
		fail(os.WriteFile(os.Args[2], []byte("written"), 0o600))
	case "id":
		fmt.Println(os.Getuid(), os.Getgid())
	}
}

func serve() {
	fmt.Println("serving")
	host, err := os.Hostname()
	fail(err)
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "from", host) })
	fail(http.ListenAndServe(":8080", nil))
}

func get(url string) {
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get(url)
	fail(err)
	_, err = io.Copy(os.Stdout, response.Body)
	fail(err)
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
