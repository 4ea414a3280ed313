// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/platform"
	"obstack.dev/obstack/controllers/proof/judge"
)

// markedKey is the key of every DSN, and must appear nowhere.
const markedKey = "0123456789abcdef0123456789abcdef"

// fakeRelay responds as Sentry's Relay does, in the order of its responses, of which the last
// stays. An empty one is 200.
type fakeRelay struct {
	*httptest.Server
	mu        sync.Mutex
	responses []string
	requests  []*http.Request
	bodies    []string
}

func newFakeRelay(t *testing.T, responses ...string) *fakeRelay {
	t.Helper()
	relay := &fakeRelay{responses: responses}
	relay.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		relay.mu.Lock()
		defer relay.mu.Unlock()
		relay.requests, relay.bodies = append(relay.requests, r), append(relay.bodies, string(body))
		response := relay.responses[0]
		if len(relay.responses) > 1 {
			relay.responses = relay.responses[1:]
		}
		status := http.StatusOK
		if _, err := fmt.Sscanf(response, "%d", &status); err != nil {
			response = "200 {}"
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		fmt.Fprint(w, response[4:])
	}))
	t.Cleanup(relay.Close)
	return relay
}

func (r *fakeRelay) asked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.requests)
}

func (r *fakeRelay) dsn(project string) string {
	return strings.Replace(r.URL, "://", "://"+markedKey+"@", 1) + "/" + project
}

const rejected = `403 {"detail":"event submission rejected with_reason: ProjectId"}`

func TestAskerTakesWhatSentrySaysTwice(t *testing.T) {
	for name, tc := range map[string]struct {
		responses []string
		want      judge.DSN
		asked     int
	}{
		"accepted":                 {[]string{""}, judge.DSNAccepted, 2},
		"rejected":                 {[]string{rejected}, judge.DSNRejected, 2},
		"accepted while looked up": {[]string{"", rejected}, judge.DSNRejected, 3},
		"rejected while new":       {[]string{rejected, ""}, judge.DSNAccepted, 3},
		"never twice the same":     {[]string{"", rejected, "", rejected}, judge.DSNUnreachable, 4},
		"no key at all":            {[]string{`400 {"detail":"bad sentry DSN public key"}`}, judge.DSNRejected, 2},
		"old Sentry":               {[]string{`401 {"error":"Invalid api key"}`}, judge.DSNRejected, 2},
		"another project":          {[]string{`400 {"detail":"bad project path parameter"}`}, judge.DSNOfOtherProject, 2},
		"too many events":          {[]string{`429 {"detail":"rate limited"}`}, judge.DSNLimited, 1},
		"no configuration yet":     {[]string{`403 {"detail":"with_reason: ProjectState"}`}, judge.DSNUnreachable, 1},
		"overloaded":               {[]string{`503 {"detail":"overloaded"}`}, judge.DSNUnreachable, 1},
		"a proxy that forbids":     {[]string{"403 <html>Forbidden</html>"}, judge.DSNUnreachable, 1},
		"another server":           {[]string{"200 <html>Welcome</html>"}, judge.DSNUnreachable, 1},
		"a redirect":               {[]string{"302 {}"}, judge.DSNUnreachable, 1},
	} {
		t.Run(name, func(t *testing.T) {
			relay := newFakeRelay(t, tc.responses...)
			asker := newAsker()
			asker.pause = time.Millisecond
			dsn, _ := desired.ParseDSN(relay.dsn("7"))
			if got := asker.ask(t.Context(), asker.client, dsn); got != tc.want || relay.asked() != tc.asked {
				t.Errorf("the outcome is %d after %d questions, want %d after %d", got, relay.asked(), tc.want, tc.asked)
			}
		})
	}
}

func TestAskerSendsAReportOfNoEvents(t *testing.T) {
	relay := newFakeRelay(t, "")
	dsn, _ := desired.ParseDSN(relay.dsn("7"))
	newAsker().once(t.Context(), http.DefaultClient, dsn)
	request, body := relay.requests[0], relay.bodies[0]
	auth := "Sentry sentry_version=7, sentry_client=obstack, sentry_key=" + markedKey
	if request.Method != http.MethodPost || request.URL.String() != "/api/7/envelope/" ||
		request.Header.Get("X-Sentry-Auth") != auth || request.Header.Get("Content-Type") != "application/x-sentry-envelope" {
		t.Errorf("sends %s %s %v", request.Method, request.URL, request.Header)
	}
	lines := strings.Split(body, "\n")
	if len(lines) != 4 || lines[0] != "{}" || lines[1] != `{"type":"client_report"}` ||
		!strings.HasSuffix(lines[2], `Z","discarded_events":[]}`) {
		t.Errorf("sends\n%s", body)
	}
}

func TestOnlyNamedServersAreAsked(t *testing.T) {
	hosts := []string{"sentry.io", "*.sentry.io", "sentry.example.com:8443"}
	internal, _ := url.Parse("http://sentry.internal:9000")
	for dsn, want := range map[string]bool{
		"https://k@sentry.io/1":                 true,
		"https://k@O1.ingest.us.Sentry.io/1":    true,
		"https://k@sentry.example.com:8443/1":   true,
		"http://k@sentry.internal:9000/1":       true,
		"http://k@sentry.io/1":                  false,
		"https://k@sentry.io:8443/1":            false,
		"https://k@sentry.example.com/1":        false,
		"https://k@evilsentry.io/1":             false,
		"https://k@sentry.io.evil.example/1":    false,
		"https://k@sentry.internal:9000/1":      false,
		"http://k@sentry.internal/1":            false,
		"https://k@169.254.169.254/1":           false,
		"http://k@kubernetes.default.svc:443/1": false,
		"https://sentry.io:p@evil.example/1":    false,
		"https://k@evil.example/sentry.io/1":    false,
		"https://k@[fd00::1]/1":                 false,
	} {
		parsed, ok := desired.ParseDSN(dsn)
		if !ok {
			t.Fatalf("%s is no DSN", dsn)
		}
		target := parsed.GetAPIURL()
		if got := listed(target, hosts) || sameServer(target, internal); got != want {
			t.Errorf("%s may be asked: %t, want %t", dsn, got, want)
		}
	}
}

// sentryBench is the source, a clock and a fake Relay, which the platform names.
type sentryBench struct {
	*Sentry
	t       *testing.T
	relay   *fakeRelay
	objects *objects
	clock   time.Time

	platform *obsv1.ObservabilityPlatform
}

func newSentryBench(t *testing.T, responses ...string) *sentryBench {
	t.Helper()
	b := &sentryBench{t: t, relay: newFakeRelay(t, responses...), objects: &objects{}, clock: time.Now()}
	b.platform = &obsv1.ObservabilityPlatform{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	b.objects.all = append(b.objects.all, b.platform)
	b.platform.Spec.Sentry = &obsv1.PlatformSentry{URL: obsv1.PlatformURL(b.relay.URL)}
	b.Sentry = &Sentry{
		Reader: b.objects, Cluster: Cluster{Live: b.objects, Requests: NewRequests()}, Store: &Store{},
		Platform: func(
			context.Context, *obsv1.ObservabilityStack,
		) (string, *obsv1.ObservabilityPlatformSpec, error) {
			return "default", &b.platform.Spec, nil
		},
		Ingest: func(_ context.Context, named *obsv1.ObservabilityPlatform) ([]platform.Endpoint, error) {
			return (&platform.Backends{}).Ingest(t.Context(), named)
		},
		Interval: 8 * time.Hour,
	}
	b.restart()
	return b
}

// restart is what a new process begins with.
func (b *sentryBench) restart() {
	b.Store = &Store{}
	asker := newAsker()
	asker.pause = time.Millisecond
	b.init(asker, func() time.Time { return b.clock })
}

// stack of a namespace whose DSN is that of a project.
func (b *sentryBench) stack(namespace, dsn string) *obsv1.ObservabilityStack {
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop"}}
	stack.Spec.Sentry = &obsv1.SentrySpec{DSNFrom: &obsv1.SecretKeySource{
		SecretKeyRef: obsv1.SecretKeySelector{Name: "sentry", Key: "dsn"},
	}}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: "sentry", UID: types.UID(namespace), ResourceVersion: "1",
	}, Data: map[string][]byte{"dsn": []byte(dsn + "\n")}}
	b.objects.all = append(b.objects.all, stack, secret)
	return stack
}

func (b *sentryBench) secret(namespace string) *corev1.Secret {
	for _, obj := range b.objects.all {
		if secret, ok := obj.(*corev1.Secret); ok && secret.Namespace == namespace {
			return secret
		}
	}
	return nil
}

// settle looks, waits for all that is asked, and looks again.
func (b *sentryBench) settle() {
	b.t.Helper()
	for again := true; again; again = b.asking > 0 {
		if err := b.look(b.t.Context()); err != nil {
			b.t.Fatal(err)
		}
		for b.asking > 0 {
			b.take(<-b.done)
		}
	}
	if err := b.look(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

func (b *sentryBench) says(stack *obsv1.ObservabilityStack, want string) {
	b.t.Helper()
	got := seen(b.Store, stack, SourceSentry, "default")
	if strings.Join(strings.Fields(got)[:min(2, len(strings.Fields(got)))], " ") != want {
		b.t.Errorf("the DSN of %s is %q, want %q", stack.Namespace, got, want)
	}
	if strings.Contains(got, markedKey) || strings.Contains(got, "127.0.0.1") {
		b.t.Errorf("says what the Secret holds: %s", got)
	}
}

func TestSentryAsksOnceForADSNOfSeveralStacks(t *testing.T) {
	b := newSentryBench(t, "")
	one, two := b.stack("one", b.relay.dsn("7")), b.stack("two", b.relay.dsn("7"))
	b.settle()
	b.says(one, "True Seen")
	b.says(two, "True Seen")
	if b.relay.asked() != 2 {
		t.Errorf("asked %d times, want twice", b.relay.asked())
	}
	gets, found := b.objects.gets, b.Store.known[idOf(one)][SourceSentry].found
	b.clock = b.clock.Add(time.Hour)
	b.settle()
	if b.relay.asked() != 2 || b.objects.gets != gets+4 { // the metadata of both, at two looks
		t.Errorf("while nothing changes, asks Sentry %d times and reads %d objects", b.relay.asked()-2, b.objects.gets-gets)
	}
	if !b.Store.known[idOf(one)][SourceSentry].found.Equal(found) {
		t.Error("claims that Sentry said something though it was not asked")
	}
	b.clock = b.clock.Add(12 * time.Hour)
	b.settle()
	if b.relay.asked() != 4 {
		t.Errorf("asked %d times within 13 hours, want 4 times", b.relay.asked())
	}
	if !b.Store.known[idOf(one)][SourceSentry].found.After(found) {
		t.Error("what Sentry said again is as old as what it said first")
	}
}

func TestSentryGivesNoTokenToWhoTakesEvents(t *testing.T) {
	b := newSentryBench(t, "")
	b.platform.Spec.Sentry.TokenFrom = &obsv1.PlatformSecretSource{} // It is for another API, and need not be there.
	stack := b.stack("one", b.relay.dsn("7"))
	b.settle()
	b.says(stack, "True Seen")
	if got := b.relay.requests[0].Header.Get("Authorization"); got != "" {
		t.Errorf("sends Authorization: %s", got)
	}
}

// TestSentryTrustsWhomThePlatformTrusts asks a Sentry with a certificate of a private authority,
// also where its host is one of those that may be asked in any case.
func TestSentryTrustsWhomThePlatformTrusts(t *testing.T) {
	for _, listed := range []bool{false, true} {
		b := newSentryBench(t, "")
		b.relay.Close()
		b.relay.Server = httptest.NewTLSServer(b.relay.Config.Handler)
		t.Cleanup(b.relay.Close)
		authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.relay.Certificate().Raw})
		b.objects.all = append(b.objects.all, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "obstack-system", Name: "ca", Labels: map[string]string{obsv1.LabelPlatform: "default"},
			},
			Data: map[string][]byte{"ca.crt": authority},
		})
		b.platform.Spec.Sentry = &obsv1.PlatformSentry{URL: obsv1.PlatformURL(b.relay.URL)}
		backends := &platform.Backends{Live: b.objects, Secrets: b.objects, Namespace: "obstack-system", Now: time.Now}
		b.Ingest = backends.Ingest
		if listed {
			b.Hosts = []string{b.relay.Listener.Addr().String()}
		}
		stack := b.stack("one", b.relay.dsn("7"))
		b.settle()
		b.says(stack, "Unknown Unreachable")
		b.platform.Generation++
		b.platform.Spec.Sentry.TLS = &obsv1.PlatformTLS{CAFrom: &obsv1.PlatformSecretSource{
			SecretKeyRef: obsv1.SecretKeySelector{Name: "ca", Key: "ca.crt"},
		}}
		b.clock = b.clock.Add(2 * againBroken)
		b.settle()
		b.says(stack, "True Seen")
	}
}

func TestSentryAsksAgainForAChangedDSN(t *testing.T) {
	b := newSentryBench(t, "", "", rejected)
	stack := b.stack("one", b.relay.dsn("7"))
	b.settle()
	b.says(stack, "True Seen")
	secret := b.secret("one")
	secret.ResourceVersion, secret.Data["dsn"] = "2", []byte(b.relay.dsn("8"))
	b.settle()
	b.says(stack, "True Seen") // too soon
	b.clock = b.clock.Add(againSoonest)
	b.settle()
	b.says(stack, "False KeyRejected")
	if b.relay.asked() != 4 {
		t.Errorf("asked %d times, want 4 times", b.relay.asked())
	}
	secret.ResourceVersion = "3" // with the same DSN
	b.clock = b.clock.Add(againSoonest)
	b.settle()
	if b.relay.asked() != 4 {
		t.Errorf("asks again for a DSN that did not change")
	}
	secret.ResourceVersion, secret.Data["dsn"] = "4", nil
	b.clock = b.clock.Add(againSoonest)
	b.settle()
	b.says(stack, "True Disabled")
}

// TestSentryMayMissOneResponse after it accepted a DSN, and none after the DSN is another.
func TestSentryMayMissOneResponse(t *testing.T) {
	const away = `503 {"detail":"overloaded"}`
	b := newSentryBench(t, "", "", away, "", "", away, away, "", "", away)
	stack := b.stack("one", b.relay.dsn("7"))
	b.settle()
	for _, want := range []string{"True Seen", "True Seen", "True Seen", "Unknown Unreachable", "True Seen"} {
		asked := b.relay.asked()
		for b.relay.asked() == asked {
			b.clock = b.clock.Add(againBroken / 2)
			b.settle()
		}
		b.says(stack, want)
	}
	secret := b.secret("one")
	secret.ResourceVersion, secret.Data["dsn"] = "2", []byte(b.relay.dsn("8"))
	b.clock = b.clock.Add(againSoonest)
	b.settle()
	b.says(stack, "Unknown Unreachable")
}

func TestSentryAsksSoonerForAKeyThatIsRejected(t *testing.T) {
	b := newSentryBench(t, rejected, rejected, "")
	stack := b.stack("one", b.relay.dsn("7"))
	b.settle()
	b.says(stack, "False KeyRejected")
	b.clock = b.clock.Add(2 * againBroken)
	b.settle()
	b.says(stack, "True Seen")
}

func TestSentryAsksNoOtherHosts(t *testing.T) {
	b := newSentryBench(t, "")
	b.platform.Spec.Sentry = nil
	stack := b.stack("one", b.relay.dsn("7"))
	b.settle()
	b.says(stack, "Unknown HostNotAllowed")
	if b.relay.asked() != 0 {
		t.Errorf("asked a host that nobody allows")
	}
}

func TestSentryLeavesBadInputToThePass(t *testing.T) {
	b := newSentryBench(t, "")
	invalid, missing := b.stack("invalid", "nonsense"), b.stack("missing", b.relay.dsn("7"))
	b.secret("missing").Name = "other"
	b.settle()
	b.says(invalid, "")
	b.says(missing, "")
	if b.relay.asked() != 0 {
		t.Errorf("asked %d times", b.relay.asked())
	}
	b.secret("missing").Name = "sentry"
	b.settle()
	b.says(missing, "True Seen")
}

func TestSentryTakesOverWhatAnotherProcessSaw(t *testing.T) {
	b := newSentryBench(t, "", "", rejected)
	b.clock = b.clock.Add(-time.Hour)
	stack := b.stack("one", b.relay.dsn("7"))
	b.settle()
	stack.Status.ConfigHash = "of-7"
	stack.Status.Parts = []obsv1.PartStatus{{
		Kind: obsv1.PartDSN, Name: "default", Level: obsv1.LevelSeen, State: metav1.ConditionTrue, Reason: obsv1.ReasonSeen,
	}}
	b.restart()
	b.Interval = 1000 * time.Hour // so that chance does not ask at once
	b.settle()
	b.says(stack, "True Seen")
	if b.relay.asked() != 2 {
		t.Errorf("a restart asks again")
	}
	stack.Status.ConfigHash = "of-8" // The DSN had changed while nobody looked.
	b.settle()
	b.says(stack, "False KeyRejected")
}

func TestSentryBoundsWhatItAsksAtATime(t *testing.T) {
	b := newSentryBench(t, "")
	for i := range askingMost + 1 {
		b.stack(fmt.Sprintf("n%d", i), b.relay.dsn(fmt.Sprint(i)))
	}
	if err := b.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b.asking != askingMost {
		t.Errorf("asks for %d DSNs at a time, want %d", b.asking, askingMost)
	}
}
