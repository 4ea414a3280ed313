// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// serveApplications serves, at /api and /tasks, what a Pod of a FastAPI service
// and a task exporter expose. The counts grow with the time; the names, labels
// and numbers of series are the real ones, because those are what rules cost.
func serveApplications(o options) (*http.Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	began := time.Now()
	serve := func(write func(io.Writer, options, float64)) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			out := bufio.NewWriter(w)
			write(out, o, time.Since(began).Seconds())
			_ = out.Flush() // A scrape that was given up.
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/api", serve(writeAPI))
	mux.HandleFunc("/tasks", serve(writeTasks))
	server := &http.Server{Addr: listener.Addr().String(), Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			fmt.Println("serve:", err)
		}
	}()
	return server, nil
}

var (
	fineBuckets = []string{"0.01", "0.025", "0.05", "0.075", "0.1", "0.25", "0.5", "0.75", "1.0", "1.5", "2.0", "2.5", "3.0", "3.5", "4.0", "4.5",
		"5.0", "7.5", "10.0", "30.0", "60.0", "+Inf"}
	roughBuckets = []string{"0.1", "0.5", "1.0", "+Inf"}
	taskBuckets  = []string{"0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.25", "0.5", "0.75", "1.0", "2.5", "5.0", "7.5", "10.0", "+Inf"}
)

func writeAPI(w io.Writer, o options, seconds float64) {
	for handler := range o.handlers {
		fmt.Fprintf(w, "http_requests_total{handler=\"/%d\",method=\"GET\",status=\"2xx\"} %g\n", handler, 10*seconds)
		fmt.Fprintf(w, "http_requests_total{handler=\"/%d\",method=\"GET\",status=\"5xx\"} %g\n", handler, .001*seconds)
		writeHistogram(w, "http_request_duration_seconds", fmt.Sprintf("handler=\"/%d\",method=\"GET\",", handler), roughBuckets, 10*seconds)
	}
	writeHistogram(w, "http_request_duration_highr_seconds", "", fineBuckets, 10*seconds*float64(o.handlers))
}

func writeTasks(w io.Writer, o options, seconds float64) {
	for task := range o.tasks {
		labels := fmt.Sprintf("name=\"task-%d\",hostname=\"worker\",queue_name=\"celery\",", task)
		for _, state := range []string{"sent", "received", "started", "succeeded", "retried", "revoked", "rejected", "cancelled"} {
			fmt.Fprintf(w, "celery_task_%s_total{%s} %g\n", state, labels, seconds)
		}
		fmt.Fprintf(w, "celery_task_failed_total{%sexception=\"ValueError\"} %g\n", labels, .001*seconds)
		writeHistogram(w, "celery_task_runtime", labels, taskBuckets, seconds)
		writeHistogram(w, "celery_task_queue_wait_time", labels, taskBuckets, seconds)
	}
	fmt.Fprint(w, "celery_queue_length{queue_name=\"celery\"} 3\ncelery_worker_lost_total 0\ncelery_exporter_broker_up 1\n")
}

func writeHistogram(w io.Writer, name, labels string, buckets []string, count float64) {
	for i, le := range buckets {
		fmt.Fprintf(w, "%s_bucket{%sle=\"%s\"} %g\n", name, labels, le, count*min(1, .9+.02*float64(i)))
	}
	fmt.Fprintf(w, "%s_count{%s} %g\n%s_sum{%s} %g\n", name, labels, count, name, labels, count/20)
}
