package probe

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/api/v1alpha1"
)

func TestFromAPI(t *testing.T) {
	for _, c := range []struct {
		what     string
		declared v1alpha1.Probe
		want     Spec
	}{
		{
			"everything by default",
			v1alpha1.Probe{
				HTTP: &v1alpha1.HTTPProbe{URL: "http://10.0.0.2/healthz"},
				TCP:  &v1alpha1.TCPProbe{Host: "10.0.0.2", Port: 80},
				DNS:  &v1alpha1.DNSProbe{Server: "10.0.0.53", Name: "www.example.org"},
			},
			Spec{
				HTTP: &HTTP{URL: "http://10.0.0.2/healthz"}, TCP: &TCP{Address: "10.0.0.2:80"},
				DNS:    &DNS{Server: "10.0.0.53:53", Name: "www.example.org"},
				Period: 10 * time.Second, Timeout: 5 * time.Second, SuccessThreshold: 1, FailureThreshold: 3,
			},
		},
		{
			"everything said",
			v1alpha1.Probe{
				HTTP: &v1alpha1.HTTPProbe{URL: "https://[2001:db8::2]:8443/", ExpectedStatuses: []v1alpha1.HTTPStatus{200, 404}},
				TCP:  &v1alpha1.TCPProbe{Host: "2001:db8::2", Port: 443},
				DNS: &v1alpha1.DNSProbe{Server: "ns.example.org", Port: 5353, Name: "example.org.", RecordType: v1alpha1.DNSRecordAAAA,
					ExpectedAnswers: []string{"2001:DB8:0::1", "::ffff:192.0.2.1"}},
				Period: &metav1.Duration{Duration: time.Minute}, Timeout: &metav1.Duration{Duration: time.Second},
				SuccessThreshold: 2, FailureThreshold: 9,
			},
			Spec{
				HTTP: &HTTP{URL: "https://[2001:db8::2]:8443/", Statuses: []int{200, 404}}, TCP: &TCP{Address: "[2001:db8::2]:443"},
				DNS: &DNS{Server: "ns.example.org:5353", Name: "example.org.", IPv6: true,
					Answers: []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")}},
				Period: time.Minute, Timeout: time.Second, SuccessThreshold: 2, FailureThreshold: 9,
			},
		},
		{
			"an answer that is none is one that never comes",
			v1alpha1.Probe{DNS: &v1alpha1.DNSProbe{Server: "a", Name: "b", ExpectedAnswers: []string{"none"}}},
			Spec{DNS: &DNS{Server: "a:53", Name: "b", Answers: []netip.Addr{{}}},
				Period: 10 * time.Second, Timeout: 5 * time.Second, SuccessThreshold: 1, FailureThreshold: 3},
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			if got := FromAPI(&c.declared); !reflect.DeepEqual(got, c.want) {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

func TestSpecDefaults(t *testing.T) {
	for _, c := range []struct{ given, want Spec }{
		{Spec{}, Spec{Period: 10 * time.Second, Timeout: 5 * time.Second, SuccessThreshold: 1, FailureThreshold: 1}},
		{Spec{Period: time.Second}, Spec{Period: time.Second, Timeout: time.Second, SuccessThreshold: 1, FailureThreshold: 1}},
		{
			Spec{Period: time.Hour, Timeout: time.Minute, SuccessThreshold: 2, FailureThreshold: 3},
			Spec{Period: time.Hour, Timeout: time.Minute, SuccessThreshold: 2, FailureThreshold: 3},
		},
	} {
		got := c.given
		got.setDefaults()
		if got != c.want {
			t.Errorf("%+v becomes %+v, want %+v", c.given, got, c.want)
		}
	}
}
