package mollymawk_test

import (
	"slices"
	"testing"

	"mollymawk.dev/operator/internal/httpapi/apitest"
	"mollymawk.dev/operator/internal/httpapi/mollymawk"
)

// TestEveryRouteIsDescribed compares the description with what is served. Who
// reaches what by each route is proven in the package test/httpapi.
func TestEveryRouteIsDescribed(t *testing.T) {
	served, described := mollymawk.New(mollymawk.Options{}).Routes(), apitest.Described(t)
	if !slices.Equal(served, described) {
		t.Errorf("served    %v\ndescribed %v", served, described)
	}
}
