import asyncio, time
async def test_a():
    t=time.monotonic(); loop=asyncio.get_running_loop()
    await asyncio.sleep(3600)
    assert abs(loop.time()-3600)<1e-6
    try:
        async with asyncio.timeout(5): await asyncio.Event().wait()
    except TimeoutError: pass
    assert time.monotonic()-t<1
async def test_b():
    await asyncio.Event().wait()
