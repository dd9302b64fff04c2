import CLibTorch
public func probe() -> Int { Int(lt_probe()) }
