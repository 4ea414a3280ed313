// SPDX-License-Identifier: Apache-2.0

package shop

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Rate of the requests, per second, on average.
const Rate = 10

// pause after the request of that number. The rate rises and falls by a third within two minutes,
// as that of a shop does within a day.
func pause(n int) time.Duration {
	const round = 120 * Rate
	wave := 1 + math.Sin(2*math.Pi*float64(n%round)/round)/3
	return time.Duration(float64(time.Second) / Rate / wave)
}

// Load sends requests to servers at those addresses in turns until the context ends, and returns
// the first failure. A response of any status is none.
func Load(ctx context.Context, addresses []string) error {
	client := &http.Client{Timeout: stopTimeout}
	defer client.CloseIdleConnections()
	ticker := time.NewTicker(pause(0))
	defer ticker.Stop()
	var pending sync.WaitGroup
	var once sync.Once
	var failure error
	for n := 0; ctx.Err() == nil; n++ {
		// After each round of ten, another server gets the same.
		address := addresses[(n+n/10)%len(addresses)]
		pending.Go(func() {
			if err := ask(ctx, client, address, n); err != nil && ctx.Err() == nil {
				once.Do(func() { failure = err })
			}
		})
		ticker.Reset(pause(n))
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
	pending.Wait()
	return failure
}

// ask sends the request of that number, with a secret that nobody checks. Of ten, four are orders.
func ask(ctx context.Context, client *http.Client, address string, n int) error {
	method, path := http.MethodGet, "/items"
	switch n % 10 {
	case 1, 3, 6, 8:
		method, path = http.MethodPost, "/orders"
	case 2, 5:
		path = "/items/" + strconv.Itoa(n%7)
	case 7:
		path = "/search"
	case 9:
		if n%50 == 9 {
			path = "/items/unknown"
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, http.NoBody)
	if err != nil {
		return fmt.Errorf("ask the shop: %w", err)
	}
	request.Header.Set("Authorization", "Bearer of-the-demo")
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("ask the shop: %w", err)
	}
	return response.Body.Close()
}
