// The handler of `served` on Go's net/http, to be restarted as that is: `served WAY inherited`. At SIGTERM it
// calls Server.Shutdown, as the package's documentation says. Go 1.23 and earlier have no HTTP/2 without TLS.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	listener, err := net.FileListener(os.NewFile(3, "http"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	handler := func(answer http.ResponseWriter, _ *http.Request) { fmt.Fprint(answer, "hello") }
	server := &http.Server{Handler: http.HandlerFunc(handler)}
	ended := make(chan error, 1)
	go func() {
		<-stop
		ended <- server.Shutdown(context.Background())
	}()
	fmt.Printf("ready %d\n", os.Getpid())
	if err := server.Serve(listener); err != http.ErrServerClosed {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := <-ended; err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("ended %d 0\n", os.Getpid())
}
