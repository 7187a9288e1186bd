-- The health of an object of mollymawk.dev, from its conditions. Argo CD itself says Progressing of an object that is being deleted.
local hs = {}
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  hs.status = "Progressing"
  hs.message = "Waiting for the operator to look at it"
  return hs
end
local ready, stalled
for _, condition in ipairs(obj.status.conditions or {}) do
  if condition.type == "Ready" then
    ready = condition
  elseif condition.type == "Stalled" and condition.status == "True" then
    stalled = condition
  end
end
if ready == nil then
  hs.status = "Progressing"
  hs.message = "Waiting for the operator to look at it"
  return hs
end
hs.message = ready.reason .. ": " .. ready.message
if stalled ~= nil then
  hs.status = "Degraded"
elseif ready.status ~= "True" then
  hs.status = "Progressing"
elseif ready.reason == "Suspended" or ready.reason == "Paused" then
  hs.status = "Suspended"
else
  hs.status = "Healthy"
end
return hs
