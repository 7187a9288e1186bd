package statusrules

import (
	"context"
	"fmt"
	"time"

	lua "github.com/yuin/gopher-lua"

	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/config/argocd"
)

// Health is what Argo CD shows of an object.
type Health struct {
	// Status is Healthy, Progressing, Degraded or Suspended.
	Status  string
	Message string
}

// ArgoHealth runs the health check for Argo CD on the content of an object, with
// no more of Lua than Argo CD gives it.
func ArgoHealth(script string, content map[string]any) (Health, error) {
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	l.SetContext(ctx)
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		l.Push(l.NewFunction(open))
		l.Push(lua.LString(name))
		l.Call(1, 0)
	}
	l.SetGlobal("obj", luaValue(l, content))
	if err := l.DoString(script); err != nil {
		return Health{}, err
	}
	result, ok := l.Get(-1).(*lua.LTable)
	if !ok {
		return Health{}, fmt.Errorf("the health check gives a %s", l.Get(-1).Type())
	}
	return Health{lua.LVAsString(result.RawGetString("status")), lua.LVAsString(result.RawGetString("message"))}, nil
}

// luaValue turns what JSON can say into Lua's.
func luaValue(l *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case string:
		return lua.LString(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	case []any:
		list := l.NewTable()
		for _, item := range value {
			list.Append(luaValue(l, item))
		}
		return list
	case map[string]any:
		table := l.NewTable()
		for key, item := range value {
			table.RawSetString(key, luaValue(l, item))
		}
		return table
	}
	return lua.LNil
}

// argoAgrees has Argo CD and kstatus come to the same conclusion. Of an object
// that is being deleted Argo CD asks nobody.
func argoAgrees(content map[string]any, o object, computed kstatus.Status) []string {
	if o.Metadata.DeletionTimestamp != nil {
		return nil
	}
	want := map[kstatus.Status]string{kstatus.InProgressStatus: "Progressing", kstatus.FailedStatus: "Degraded", kstatus.CurrentStatus: "Healthy"}[computed]
	if ready := o.find(v1alpha1.ConditionReady); want == "Healthy" && ready != nil && (ready.Reason == v1alpha1.ReasonSuspended || ready.Reason == v1alpha1.ReasonPaused) {
		want = "Suspended"
	}
	health, err := ArgoHealth(argocd.HealthLua, content)
	if err != nil {
		return []string{"the health check for Argo CD fails: " + err.Error()}
	}
	if health.Status != want {
		return []string{fmt.Sprintf("the health check for Argo CD says %s (%s), and kstatus says %s", health.Status, health.Message, computed)}
	}
	return nil
}
