import time
from asgi_hub import *
def test_x(hub):
    r=hub.repo()
    t=time.time()
    for i in range(200): a=hub.get(f"/api/models/{r}", "ada")
    print((time.time()-t)/200*1000,"ms"); print(a)
    t=time.time()
    for i in range(200): a=hub.get(f"/api/models/{r}/xx", "ada")
    print((time.time()-t)/200*1000,"ms")
    t=time.time()
    for i in range(50): hub.repo()
    print((time.time()-t)/50*1000,"ms create")
    t=time.time()
    for i in range(50): hub.committed(r,{f"a{i}":b"x"})
    print((time.time()-t)/50*1000,"ms commit")
    o=hub.with_lfs(r,"m.bin",noise("a",1000))
    print(hub.get(f"/{r}/resolve/main/m.bin"))
    print(hub.get(f"/{r}.git/info/refs?service=git-upload-pack"))
    for x in [b'{"operation":"download","objects":[{"oid":"'+b'a'*64+b'","size":1000000000000000000000000000000}]}', b'{"a":"\xff"}']:
        print(hub.post(f"/{r}/info/lfs/objects/batch", body=x))
    print(hub.get("/xet/fetch/abc"))
    print(hub.send("DELETE","/api/repos/delete","ada",json={"name":r.split("/")[1]}))
