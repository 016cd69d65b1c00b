// Probe asks the Collector's health check, for images without a shell: exit code 0 if it answers 200, 1 if not.
//
//	/probe [URL]
//
// Without URL it asks http://127.0.0.1:13133/, or the port that HEALTH_PORT names.
package main

import (
	"fmt"
	"net/http"
	"os"
	"time"
)

const patience = 3 * time.Second

func main() {
	if err := ask(target(os.Args[1:], os.Getenv("HEALTH_PORT"))); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func target(arguments []string, port string) string {
	if len(arguments) > 0 {
		return arguments[0]
	}
	if port == "" {
		port = "13133"
	}
	return "http://127.0.0.1:" + port + "/"
}

func ask(url string) error {
	// Never through a proxy: what is asked is in this container.
	client := http.Client{Timeout: patience, Transport: &http.Transport{Proxy: nil}}
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, answer.Status)
	}
	return nil
}
